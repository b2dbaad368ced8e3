/// `ALTER TABLE`: the strongest lock of its actions, as `AlterTableGetLockLevel` chooses it.
extension StatementEffect {
    /// What one action of `ALTER TABLE` works on.
    private struct Action {
        var table: String
        var subtype: String
        var name: String
        var definition: SyntaxTree?
        var facts: SchemaFacts

        var known: SchemaFacts.Relation? { facts.relations[table] }
        var constraint: SyntaxTree? { definition?["Constraint"] }
    }

    mutating func addAlterTable(_ fields: SyntaxTree, _ facts: SchemaFacts) {
        guard let relation = fields.relation() else { return }
        // ALTER INDEX, ALTER SEQUENCE and ALTER VIEW are the same statement in the tree.
        let isTable = fields["objtype"]?.text == "OBJECT_TABLE"
        var level = LockLevel.shareUpdateExclusive
        var reachesChildren = false
        let commands = fields["cmds"]?.list.compactMap { $0["AlterTableCmd"] } ?? []
        let dropped = commands.filter { $0["subtype"]?.text == "AT_DropNotNull" }
            .compactMap { $0["name"]?.text }
        for command in commands {
            let action = Action(
                table: relation.full, subtype: command["subtype"]?.text ?? "",
                name: command["name"]?.text ?? "", definition: command["def"], facts: facts)
            level = max(level, Self.level(of: action))
            guard isTable else { continue }
            addWork(of: action, dropped: Set(dropped))
            reachesChildren = reachesChildren || Self.reachesChildren(action)
            addOtherRelations(of: action)
        }
        lock(relation, level)
        if reachesChildren, fields["relation"]?.isSet("inh") == true {
            for child in facts.descendants(relation.full) { lock(child, level) }
        }
    }

    private static func reachesChildren(_ action: Action) -> Bool {
        switch action.subtype {
        case "AT_AddColumn", "AT_DropColumn", "AT_AlterColumnType", "AT_ColumnDefault",
            "AT_SetNotNull", "AT_DropNotNull", "AT_SetStatistics", "AT_SetStorage",
            "AT_DropConstraint", "AT_ValidateConstraint":
            true
        case "AT_AddConstraint":
            action.constraint?["contype"]?.text == "CONSTR_CHECK"
                || action.known?.isPartitioned == true
        default:
            false
        }
    }

    private static func level(of action: Action) -> LockLevel {
        switch action.subtype {
        case "AT_EnableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_EnableTrigAll",
            "AT_EnableTrigUser", "AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser":
            .shareRowExclusive
        case "AT_AddConstraint":
            action.constraint?["contype"]?.text == "CONSTR_FOREIGN"
                ? .shareRowExclusive : .accessExclusive
        case "AT_SetStatistics", "AT_ClusterOn", "AT_DropCluster", "AT_SetOptions",
            "AT_ResetOptions", "AT_ValidateConstraint", "AT_AttachPartition",
            "AT_DetachPartitionFinalize":
            .shareUpdateExclusive
        case "AT_DetachPartition":
            action.definition?["PartitionCmd"]?.isSet("concurrent") == true
                ? .shareUpdateExclusive : .accessExclusive
        case "AT_SetRelOptions", "AT_ResetRelOptions":
            (action.definition?["List"]?["items"]?.list ?? []).allSatisfy {
                isLightOption($0["DefElem"]?["defname"]?.text ?? "")
            } ? .shareUpdateExclusive : .accessExclusive
        default:
            .accessExclusive
        }
    }

    /// Options that change how a table is cared for, not what a statement sees.
    private static func isLightOption(_ name: String) -> Bool {
        name.hasPrefix("autovacuum_") || name.hasPrefix("vacuum_")
            || [
                "fillfactor", "toast_tuple_target", "parallel_workers", "deduplicate_items",
                "log_autovacuum_min_duration",
            ].contains(name)
    }

    /// - Parameter dropped: columns whose NOT NULL the same statement drops, which comes first.
    private mutating func addWork(of action: Action, dropped: Set<String>) {
        switch action.subtype {
        case "AT_AddColumn":
            addColumn(action)
        case "AT_AlterColumnType":
            changeType(action)
        case "AT_SetNotNull":
            if dropped.contains(action.name)
                || !action.facts.isProvenNotNull(action.table, action.name)
            {
                scans = true
            }
        case "AT_AddConstraint":
            if let constraint = action.constraint { addConstraint(constraint, action) }
        case "AT_ValidateConstraint":
            scans = action.known?.constraints[action.name]?.isValid != true || scans
        case "AT_SetLogged":
            rewrite(action.known?.isUnlogged == false ? .no : .yes)
        case "AT_SetUnLogged":
            rewrite(action.known?.isUnlogged == true ? .no : .yes)
        case "AT_SetAccessMethod":
            rewrite(action.known.map(\.accessMethod) == action.name ? .no : .yes)
        case "AT_SetTableSpace":
            rewrite(.yes)
        case "AT_AttachPartition":
            scans = true
        default:
            break
        }
    }

    private mutating func addColumn(_ action: Action) {
        guard let column = action.definition?["ColumnDef"] else { return }
        let type = ColumnType(column["typeName"])
        let isFilled = column.constraint("CONSTR_DEFAULT") != nil
        if let value = column.constraint("CONSTR_DEFAULT")?["raw_expr"] {
            rewrite(Volatility.rewrite(of: value, action.facts))
        }
        let isNumbered =
            column.constraint("CONSTR_IDENTITY") != nil
            || ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"]
                .contains(type?.name)
        let isConstrained = type.flatMap { action.facts.domains[$0.name]?.isConstrained } ?? false
        if isNumbered || isConstrained || column.constraint("CONSTR_GENERATED") != nil {
            rewrite(.yes)
        }
        if column.constraint("CONSTR_NOTNULL") != nil, !isFilled { scans = true }
        for kind in ["CONSTR_CHECK", "CONSTR_PRIMARY", "CONSTR_UNIQUE"]
        where column.constraint(kind) != nil {
            scans = true
        }
        // A new column without a default holds NULL only, which no foreign key looks at.
        if column.constraint("CONSTR_FOREIGN") != nil, isFilled { scans = true }
    }

    private mutating func changeType(_ action: Action) {
        guard let definition = action.definition?["ColumnDef"],
            let target = ColumnType(definition["typeName"])
        else { return }
        if let using = definition["raw_default"], !using.isPlain(column: action.name, to: target) {
            rewrite(.yes)
            return
        }
        guard let old = action.known?.columns[action.name]?.type else {
            rewrite(.depends(on: "the type that \(action.name) has now"))
            return
        }
        if action.facts.domains[target.name]?.isConstrained == true {
            rewrite(.yes)
        } else {
            rewrite(action.facts.stored(old).rewrite(to: action.facts.stored(target)))
        }
        let checks = action.known?.constraints.values.contains {
            $0.kind == "c" && $0.isValid && $0.columns.contains(action.name)
        }
        // Its constraints are made again, and CHECKs are proven again.
        if checks == true { scans = true }
    }

    private mutating func addConstraint(_ constraint: SyntaxTree, _ action: Action) {
        switch constraint["contype"]?.text {
        case "CONSTR_CHECK", "CONSTR_FOREIGN":
            if !constraint.isSet("skip_validation") { scans = true }
        case "CONSTR_PRIMARY" where constraint["indexname"] != nil:
            // It makes its columns NOT NULL, which has to be proven.
            let schema = RelationName(parts: action.table.split(separator: ".").map(String.init))
            let index = "\(schema?.schema ?? "public").\(constraint["indexname"]?.text ?? "")"
            let columns = action.facts.indexes[index]?.columns ?? []
            let isNullable = { (column: String) in
                action.known?.columns[column] != nil
                    && !action.facts.isProvenNotNull(action.table, column)
            }
            if columns.contains(where: isNullable) { scans = true }
        case "CONSTR_UNIQUE" where constraint["indexname"] != nil:
            break
        default:
            scans = true
        }
    }

    private mutating func addOtherRelations(of action: Action) {
        let column = action.definition?["ColumnDef"]
        for constraint in [action.constraint, column?.constraint("CONSTR_FOREIGN")] {
            if let constraint, constraint["contype"]?.text == "CONSTR_FOREIGN" {
                lock(constraint.relation("pktable"), .shareRowExclusive)
            }
        }
        let other = action.definition?["PartitionCmd"]?.relation("name")
        switch action.subtype {
        case "AT_AttachPartition":
            lock(other, .accessExclusive)
        case "AT_DetachPartition":
            let isConcurrent = action.definition?["PartitionCmd"]?.isSet("concurrent") == true
            canRunInTransaction = !isConcurrent
            lock(other, isConcurrent ? .shareUpdateExclusive : .accessExclusive)
        case "AT_AddInherit":
            lock(action.definition?.rangeVar, .shareUpdateExclusive)
        case "AT_DropInherit":
            lock(action.definition?.rangeVar, .accessShare)
        case "AT_DropConstraint":
            if let far = action.known?.constraints[action.name]?.references {
                lock(far, .accessExclusive)
            }
        case "AT_DropColumn":
            for constraint in action.known?.constraints.values.map(\.self) ?? []
            where constraint.columns.contains(action.name) {
                if let far = constraint.references { lock(far, .accessExclusive) }
            }
        case "AT_ValidateConstraint":
            if let known = action.known?.constraints[action.name], !known.isValid,
                let far = known.references
            {
                lock(far, .rowShare)
            }
        default:
            break
        }
    }
}

extension SyntaxTree {
    /// Whether a `USING` says what would happen without it: `a` or `a::new_type`.
    fileprivate func isPlain(column: String, to target: ColumnType) -> Bool {
        if let cast = self["TypeCast"] {
            return ColumnType(cast["typeName"]) == target
                && cast["arg"]?.isPlain(column: column, to: target) == true
        }
        return self["ColumnRef"]?["fields"]?.names == [column]
    }
}
