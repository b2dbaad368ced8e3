/// How a statement changes what is known, so that a later one is judged by it.
extension SchemaFacts {
    mutating func apply(_ tree: SyntaxTree) {
        guard let kind = tree.kind, let fields = tree.fields else { return }
        switch kind {
        case "CreateStmt":
            guard let table = fields.relation() else { return }
            for element in fields["tableElts"]?.list ?? [] {
                if let column = element["ColumnDef"] { addColumn(column, to: table) }
                if let constraint = element["Constraint"] { addConstraint(constraint, to: table) }
            }
        case "AlterTableStmt":
            guard let table = fields.relation() else { return }
            for command in fields["cmds"]?.list.compactMap({ $0["AlterTableCmd"] }) ?? [] {
                alter(table, command)
            }
        case "IndexStmt":
            guard let table = fields.relation(), let name = fields["idxname"]?.text else { return }
            let columns = fields["indexParams"]?.list.compactMap { $0["IndexElem"]?["name"]?.text }
            indexes["\(table.schema ?? "public").\(name)"] = Index(
                table: table.full, columns: columns ?? [], isUnique: fields.isSet("unique"))
        case "DropStmt":
            let names = (fields["objects"]?.list ?? []).compactMap(\.qualifiedName?.full)
            switch fields["removeType"]?.text {
            case "OBJECT_TABLE": for name in names { relations[name] = nil }
            case "OBJECT_INDEX": for name in names { indexes[name] = nil }
            default: break
            }
        default:
            break
        }
    }

    private mutating func alter(_ table: RelationName, _ command: SyntaxTree) {
        let name = command["name"]?.text ?? ""
        switch command["subtype"]?.text {
        case "AT_AddColumn":
            if let column = command["def"]?["ColumnDef"] { addColumn(column, to: table) }
        case "AT_AlterColumnType":
            if let type = ColumnType(command["def"]?["ColumnDef"]?["typeName"]) {
                relations[table.full]?.columns[name]?.type = type
            }
        case "AT_DropColumn":
            relations[table.full]?.columns[name] = nil
        case "AT_SetNotNull":
            relations[table.full]?.columns[name]?.isNotNull = true
        case "AT_DropNotNull":
            relations[table.full]?.columns[name]?.isNotNull = false
        case "AT_AddConstraint":
            guard let constraint = command["def"]?["Constraint"] else { return }
            addConstraint(constraint, to: table)
        case "AT_ValidateConstraint":
            relations[table.full]?.constraints[name]?.isValid = true
        case "AT_DropConstraint":
            relations[table.full]?.constraints[name] = nil
        default:
            break
        }
    }

    private mutating func addColumn(_ column: SyntaxTree, to table: RelationName) {
        guard let name = column["colname"]?.text, let type = ColumnType(column["typeName"])
        else { return }
        let isNotNull =
            column.constraint("CONSTR_NOTNULL") != nil
            || column.constraint("CONSTR_PRIMARY") != nil
        relations[table.full, default: Relation()].columns[name] = Column(
            type: type, isNotNull: isNotNull)
    }

    private mutating func addConstraint(_ constraint: SyntaxTree, to table: RelationName) {
        let kinds = [
            "CONSTR_CHECK": "c", "CONSTR_FOREIGN": "f", "CONSTR_PRIMARY": "p",
            "CONSTR_UNIQUE": "u", "CONSTR_EXCLUSION": "x",
        ]
        guard let name = constraint["conname"]?.text,
            let kind = constraint["contype"]?.text.flatMap({ kinds[$0] })
        else { return }
        relations[table.full, default: Relation()].constraints[name] = Constraint(
            kind: kind,
            columns: (constraint["keys"] ?? constraint["fk_attrs"])?.names ?? [],
            references: constraint.relation("pktable")?.full,
            isValid: !constraint.isSet("skip_validation"),
            provesNotNull: constraint["raw_expr"]?.columnsProvenNotNull ?? [])
    }
}
