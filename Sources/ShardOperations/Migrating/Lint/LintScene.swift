/// A statement, and what a rule may know when it looks at it.
struct LintScene {
    /// One action of an `ALTER TABLE` on a table.
    struct Action {
        var table: RelationName
        var subtype: String
        var name: String
        var definition: SyntaxTree?

        var column: SyntaxTree? { definition?["ColumnDef"] }
        var constraint: SyntaxTree? { definition?["Constraint"] }
        /// `CONSTR_CHECK` and its like, of `ADD CONSTRAINT`.
        var constraintKind: String? {
            subtype == "AT_AddConstraint" ? constraint?["contype"]?.text : nil
        }
    }

    /// A column that a statement adds or gives another type.
    struct Column {
        var table: RelationName
        var name: String
        var definition: SyntaxTree
        var type: ColumnType?
        var isRetyped = false
    }

    /// A foreign key that a statement adds.
    struct ForeignKey {
        var table: RelationName
        var target: RelationName
    }

    var file: LintFile
    var statement: SQLStatement
    var tree: SyntaxTree
    var effect: StatementEffect
    /// As they are before the statement.
    var facts: SchemaFacts
    /// What statements before this one in the same file made: nobody uses it yet.
    var newRelations: Set<String>
    /// Where it stands in its file, from 0.
    var index: Int
    /// All that can be read of its file, in order, this one included.
    var peers: [Peer] = []
    /// Over all files, whenever they are registered.
    var registered: Set<String>
    /// What any of the files makes.
    var createdAnywhere: Set<String>

    /// What is told of the other statements of the file.
    struct Peer {
        var index: Int
        var tree: SyntaxTree
        var effect: StatementEffect
        /// Tables that existed before the file, whose writers it holds up.
        var blocked: Set<String>
    }

    var kind: String { tree.kind ?? "" }
    var fields: SyntaxTree { tree.fields ?? .nothing }

    func isRegistered(_ relation: RelationName) -> Bool { registered.contains(relation.full) }

    /// Whether it certainly does not move with its rooms.
    func isUnregistered(_ relation: RelationName) -> Bool {
        let knowsDatabase = !facts.relations.isEmpty || !facts.registered.isEmpty
        return !isRegistered(relation) && (knowsDatabase || createdAnywhere.contains(relation.full))
    }

    /// Of `ALTER TABLE`; empty for every other statement.
    var actions: [Action] { actions(ofAltering: "OBJECT_TABLE") }

    /// Of `ALTER TYPE`, for the columns of a composite type.
    var attributeActions: [Action] { actions(ofAltering: "OBJECT_TYPE") }

    private func actions(ofAltering type: String) -> [Action] {
        guard kind == "AlterTableStmt", fields["objtype"]?.text == type,
            let table = fields.relation()
        else { return [] }
        return (fields["cmds"]?.list ?? []).compactMap { item in
            item["AlterTableCmd"].map {
                Action(
                    table: table, subtype: $0["subtype"]?.text ?? "",
                    name: $0["name"]?.text ?? "", definition: $0["def"])
            }
        }
    }

    func actions(_ subtypes: String...) -> [Action] {
        actions.filter { subtypes.contains($0.subtype) }
    }

    /// The table of a `CREATE TABLE` that stays.
    var createdTable: RelationName? {
        guard kind == "CreateStmt", fields["relation"]?["relpersistence"]?.text != "t" else {
            return nil
        }
        return fields.relation()
    }

    var columns: [Column] {
        if let table = createdTable {
            return (fields["tableElts"]?.list ?? []).compactMap {
                $0["ColumnDef"].map { column($0, table) }
            }
        }
        return actions("AT_AddColumn", "AT_AlterColumnType").compactMap { action in
            guard let definition = action.column else { return nil }
            var column = column(definition, action.table)
            if action.subtype == "AT_AlterColumnType" {
                (column.name, column.isRetyped) = (action.name, true)
            }
            return column
        }
    }

    private func column(_ definition: SyntaxTree, _ table: RelationName) -> Column {
        Column(
            table: table, name: definition["colname"]?.text ?? "", definition: definition,
            type: ColumnType(definition["typeName"]))
    }

    var foreignKeys: [ForeignKey] {
        var found = columns.filter { !$0.isRetyped }.compactMap { column in
            column.definition.constraint("CONSTR_FOREIGN")?.relation("pktable")
                .map { ForeignKey(table: column.table, target: $0) }
        }
        for (table, constraint) in tableConstraints
        where constraint["contype"]?.text == "CONSTR_FOREIGN" {
            if let target = constraint.relation("pktable") {
                found.append(ForeignKey(table: table, target: target))
            }
        }
        return found
    }

    /// Constraints of a table as a whole, of `CREATE TABLE` and `ADD CONSTRAINT`.
    var tableConstraints: [(table: RelationName, constraint: SyntaxTree)] {
        if let table = createdTable {
            return (fields["tableElts"]?.list ?? []).compactMap {
                $0["Constraint"].map { (table, $0) }
            }
        }
        return actions("AT_AddConstraint").compactMap { action in
            action.constraint.map { (action.table, $0) }
        }
    }

    /// Keys that must be unique, with their columns.
    var uniqueKeys: [(table: RelationName, columns: [String])] {
        var found: [(RelationName, [String])] = []
        for column in columns where !column.isRetyped {
            let isKey = ["CONSTR_PRIMARY", "CONSTR_UNIQUE"].contains {
                column.definition.constraint($0) != nil
            }
            if isKey { found.append((column.table, [column.name])) }
        }
        for (table, constraint) in tableConstraints {
            guard ["CONSTR_PRIMARY", "CONSTR_UNIQUE"].contains(constraint["contype"]?.text)
            else { continue }
            if let index = constraint["indexname"]?.text {
                let known = facts.indexes["\(table.schema ?? "public").\(index)"]
                if let known { found.append((table, known.columns)) }
            } else {
                found.append((table, constraint["keys"]?.names ?? []))
            }
        }
        if kind == "IndexStmt", fields.isSet("unique"), let table = fields.relation() {
            let columns = fields["indexParams"]?.list.compactMap { $0["IndexElem"]?["name"]?.text }
            found.append((table, columns ?? []))
        }
        return found
    }

    /// Whether a later statement of the same transaction makes what this one drops.
    var isMadeAgain: Bool {
        guard file.isTransactional, let object = fields["objects"]?.list.first else { return false }
        let parts = (object["List"]?["items"] ?? object["ObjectWithArgs"]?["objname"])?.names ?? []
        return peers.contains { peer in
            guard peer.index > index, let made = peer.tree.fields else { return false }
            switch (fields["removeType"]?.text, peer.tree.kind) {
            case ("OBJECT_TRIGGER", "CreateTrigStmt"):
                return made["trigname"]?.text == parts.last
                    && made.relation() == RelationName(parts: parts.dropLast())
            case ("OBJECT_POLICY", "CreatePolicyStmt"):
                return made["policy_name"]?.text == parts.last
                    && made.relation("table") == RelationName(parts: parts.dropLast())
            case ("OBJECT_VIEW", "ViewStmt"):
                return made.relation("view") == RelationName(parts: parts)
            case ("OBJECT_MATVIEW", "CreateTableAsStmt"):
                return made["into"]?.relation("rel") == RelationName(parts: parts)
            case ("OBJECT_FUNCTION", "CreateFunctionStmt"),
                ("OBJECT_PROCEDURE", "CreateFunctionStmt"):
                return made["funcname"]?.names == parts
            default:
                return false
            }
        }
    }

    /// The relations of a `DROP` of this type, such as `OBJECT_TABLE`.
    func dropped(_ type: String) -> [RelationName] {
        guard kind == "DropStmt", fields["removeType"]?.text == type else { return [] }
        return (fields["objects"]?.list ?? []).compactMap(\.qualifiedName)
    }
}
