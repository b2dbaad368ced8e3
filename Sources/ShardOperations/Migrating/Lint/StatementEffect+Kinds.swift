/// Statements other than `ALTER TABLE`. Each reader answers whether the statement is one of its own.
extension StatementEffect {
    /// What makes, empties or rebuilds.
    mutating func addMaintenance(
        _ kind: String, _ fields: SyntaxTree, _ facts: SchemaFacts
    ) -> Bool {
        switch kind {
        case "IndexStmt":
            let isConcurrent = fields.isSet("concurrent")
            lock(fields.relation(), isConcurrent ? .shareUpdateExclusive : .share)
            scans = true
            canRunInTransaction = !isConcurrent
        case "ReindexStmt":
            addReindex(fields, facts)
        case "VacuumStmt":
            addVacuum(fields)
        case "ClusterStmt":
            lock(fields.relation(), .accessExclusive)
            rewrite(.yes)
            canRunInTransaction = fields.relation() != nil
        case "TruncateStmt":
            for table in fields["relations"]?.list.compactMap(\.rangeVar) ?? [] {
                lock(table, .accessExclusive)
                guard fields["behavior"]?.text == "DROP_CASCADE" else { continue }
                for other in facts.referencing(table.full) { lock(other, .accessExclusive) }
            }
        case "RefreshMatViewStmt":
            let isConcurrent = fields.isSet("concurrent")
            hasNoWriters = true
            lock(fields.relation(), isConcurrent ? .exclusive : .accessExclusive)
            if isConcurrent { scans = true } else { rewrite(.yes) }
        case "LockStmt":
            let level = LockLevel(rawValue: fields["mode"]?.number ?? 8) ?? .accessExclusive
            for table in fields["relations"]?.list.compactMap(\.rangeVar) ?? [] {
                lock(table, level)
            }
        case "TransactionStmt":
            controlsTransaction = true
        default:
            return false
        }
        return true
    }

    private mutating func addReindex(_ fields: SyntaxTree, _ facts: SchemaFacts) {
        let isConcurrent = fields["params"]?.hasOption("concurrently") ?? false
        canRunInTransaction = !isConcurrent && fields.relation() != nil
        scans = true
        guard let relation = fields.relation() else { return }
        let level = isConcurrent ? LockLevel.shareUpdateExclusive : .share
        guard fields["kind"]?.text == "REINDEX_OBJECT_INDEX" else {
            let isIndexed = facts.indexes.values.contains { $0.table == relation.full }
            scans = isIndexed || facts.relations[relation.full] == nil
            lock(relation, level)
            return
        }
        lock(relation, isConcurrent ? .shareUpdateExclusive : .accessExclusive)
        if let table = facts.indexes[relation.full]?.table { lock(table, level) }
    }

    private mutating func addVacuum(_ fields: SyntaxTree) {
        let isFull = fields["options"]?.hasOption("full") ?? false
        let tables = fields["rels"]?.list.compactMap { $0["VacuumRelation"]?.relation() } ?? []
        for table in tables { lock(table, isFull ? .accessExclusive : .shareUpdateExclusive) }
        if isFull { rewrite(.yes) }
        // ANALYZE takes a sample.
        if fields.isSet("is_vacuumcmd") { scans = true }
        canRunInTransaction = !fields.isSet("is_vacuumcmd")
    }

    /// What adds objects to tables or changes what they are called.
    mutating func addDefinition(
        _ kind: String, _ fields: SyntaxTree, _ facts: SchemaFacts
    ) -> Bool {
        switch kind {
        case "CreateStmt":
            addCreateTable(fields)
        case "CreateTrigStmt":
            lock(fields.relation(), .shareRowExclusive)
            lock(fields.relation("constrrel"), .shareRowExclusive)
        case "RuleStmt":
            lock(fields.relation(), .accessExclusive)
        case "CreatePolicyStmt", "AlterPolicyStmt":
            lock(fields.relation("table"), .accessExclusive)
        case "RenameStmt":
            let isIndex = fields["renameType"]?.text == "OBJECT_INDEX"
            lock(fields.relation(), isIndex ? .shareUpdateExclusive : .accessExclusive)
        case "AlterObjectSchemaStmt":
            lock(fields.relation(), .accessExclusive)
        case "CreateStatsStmt":
            for table in fields["relations"]?.list ?? [] {
                lock(table.rangeVar, .shareUpdateExclusive)
            }
        case "CommentStmt":
            addComment(fields)
        case "CreatePublicationStmt", "AlterPublicationStmt":
            for object in fields["pubobjects"]?.list ?? [] {
                let table = object["PublicationObjSpec"]?["pubtable"]
                lock(table?.relation(), .shareUpdateExclusive)
            }
        case "AlterSeqStmt":
            lock(fields.relation("sequence"), .shareRowExclusive)
        case "ViewStmt":
            for table in fields["query"]?.relations ?? [] { lock(table, .accessShare) }
            if let view = fields.relation("view"), facts.relations[view.full] != nil {
                lock(view, .accessExclusive)
            }
        case "AlterEnumStmt":
            canRunInTransaction = fields["oldVal"] != nil
        case "CreateSubscriptionStmt":
            let options = fields["options"]
            let isQuiet =
                options?.option("connect").map { ["false", "off", "0"].contains($0) } ?? false
                || options?.option("create_slot").map { ["false", "off", "0"].contains($0) }
                    ?? false
            canRunInTransaction = isQuiet
        case "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt",
            "AlterSystemStmt", "DropSubscriptionStmt":
            canRunInTransaction = false
        default:
            return false
        }
        return true
    }

    private mutating func addCreateTable(_ fields: SyntaxTree) {
        let isPartition = fields["partbound"] != nil
        for parent in fields["inhRelations"]?.list ?? [] {
            lock(parent.rangeVar, isPartition ? .accessExclusive : .shareUpdateExclusive)
        }
        for element in fields["tableElts"]?.list ?? [] {
            lock(element["TableLikeClause"]?.relation(), .accessShare)
            let column = element["ColumnDef"]?.constraint("CONSTR_FOREIGN")
            for constraint in [column, element["Constraint"]] {
                if let constraint, constraint["contype"]?.text == "CONSTR_FOREIGN",
                    constraint.relation("pktable") != fields.relation()
                {
                    lock(constraint.relation("pktable"), .shareRowExclusive)
                }
            }
        }
    }

    private mutating func addComment(_ fields: SyntaxTree) {
        let parts = (fields["object"]?["List"]?["items"] ?? .nothing).names
        switch fields["objtype"]?.text {
        case "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_INDEX":
            lock(RelationName(parts: parts), .shareUpdateExclusive)
        case "OBJECT_COLUMN":
            lock(RelationName(parts: parts.dropLast()), .shareUpdateExclusive)
        default:
            break
        }
    }

    mutating func addDropping(_ kind: String, _ fields: SyntaxTree, _ facts: SchemaFacts) -> Bool {
        guard kind == "DropStmt" else { return false }
        let isConcurrent = fields.isSet("concurrent")
        canRunInTransaction = !isConcurrent
        let level = isConcurrent ? LockLevel.shareUpdateExclusive : .accessExclusive
        for object in fields["objects"]?.list ?? [] {
            switch fields["removeType"]?.text {
            case "OBJECT_TABLE":
                guard let table = object.qualifiedName else { continue }
                lock(table, level)
                if let whole = facts.wholeTable(of: table.full) { lock(whole, level) }
                // The triggers of its foreign keys are taken from the other tables.
                for constraint in facts.relations[table.full]?.constraints.values.map(\.self) ?? []
                {
                    if let other = constraint.references { lock(other, level) }
                }
                guard fields["behavior"]?.text == "DROP_CASCADE" else { continue }
                for other in facts.referencing(table.full) { lock(other, level) }
                for view in facts.viewsOnViews(table.full) { lock(view, level) }
            case "OBJECT_INDEX":
                guard let index = object.qualifiedName else { continue }
                lock(index, level)
                if let table = facts.indexes[index.full]?.table { lock(table, level) }
            case "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE":
                lock(object.qualifiedName, level)
            case "OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY":
                let parts = (object["List"]?["items"] ?? .nothing).names
                lock(RelationName(parts: parts.dropLast()), level)
            default:
                break
            }
        }
        return true
    }

    /// Queries, and what changes rows.
    mutating func addRows(_ kind: String, _ fields: SyntaxTree) {
        let isKnown = [
            "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt", "SelectStmt",
            "CreateTableAsStmt", "ExplainStmt",
        ].contains(kind)
        guard isKnown else { return }
        if kind == "ExplainStmt", let query = fields["query"], let inner = query.kind {
            if inner != "CreateTableAsStmt", let fields = query.fields { addRows(inner, fields) }
            return
        }
        let into = fields["into"]?.relation("rel")
        for table in fields.relations where table != into { lock(table, .accessShare) }
        fields.visit { node in
            for kind in ["InsertStmt", "UpdateStmt", "DeleteStmt"] {
                lock(node[kind]?.relation(), .rowExclusive)
            }
        }
        if ["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"].contains(kind) {
            lock(fields.relation(), .rowExclusive)
        }
        if kind == "CopyStmt", fields.isSet("is_from") { lock(fields.relation(), .rowExclusive) }
        addLockingClauses(fields)
    }

    private mutating func addLockingClauses(_ fields: SyntaxTree) {
        for clause in fields["lockingClause"]?.list.compactMap({ $0["LockingClause"] }) ?? [] {
            let named = Set(
                clause["lockedRels"]?.list.compactMap { $0.rangeVar?.name } ?? [])
            for item in fields["fromClause"]?.list ?? [] {
                item.visit { node in
                    guard let range = node["RangeVar"] else { return }
                    let name = range["alias"]?["aliasname"]?.text ?? range["relname"]?.text ?? ""
                    if named.isEmpty || named.contains(name) { lock(range.rangeVar, .rowShare) }
                }
            }
        }
    }
}
