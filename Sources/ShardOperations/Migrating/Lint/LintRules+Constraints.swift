/// Constraints, and domains, which are constraints with a name.
extension LintRules {
    static let constraints: [LintRule] = [
        LintRule(
            "adding-foreign-key-constraint", .danger, [.dependsOnSize],
            why: "Both tables are closed to writers while every row is looked up.",
            instead: "ADD CONSTRAINT … FOREIGN KEY … NOT VALID, and VALIDATE CONSTRAINT in the "
                + "next file."
        ) { scene in
            scene.actions.filter { action in
                if action.subtype == "AT_AddColumn" {
                    return action.column?.constraint("CONSTR_FOREIGN") != nil
                }
                return action.constraintKind == "CONSTR_FOREIGN"
                    && action.constraint?.isSet("skip_validation") == false
            }.map { LintRule.Flag($0.table, "a foreign key is added and checked at once") }
        },
        LintRule(
            "constraint-missing-not-valid", .danger, [.dependsOnSize],
            why: "The whole table is read while readers and writers wait.",
            instead: "ADD CONSTRAINT … NOT VALID in one file and VALIDATE CONSTRAINT in the next: "
                + "a transaction keeps the lock of its first half."
        ) { scene in
            let checks = scene.actions.filter {
                $0.constraintKind == "CONSTR_CHECK"
                    && $0.constraint?.isSet("skip_validation") == false
            }.map { LintRule.Flag($0.table, "a CHECK is added and proven at once") }
            let proofs = scene.actions("AT_ValidateConstraint").filter {
                scene.file.isTransactional && isAddedBefore($0, in: scene)
            }.map { LintRule.Flag($0.table, "\($0.name) is added and validated in one file") }
            return checks + proofs
        },
        LintRule(
            "adding-serial-primary-key-field", .danger, [.dependsOnSize],
            why: "The index is built under ACCESS EXCLUSIVE, and NOT NULL is proven too.",
            instead: "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … PRIMARY KEY USING "
                + "INDEX."
        ) { scene in
            scene.actions.filter { isNewKey($0, "CONSTR_PRIMARY") }
                .map { LintRule.Flag($0.table, "a primary key is built under a lock") }
        },
        LintRule(
            "disallowed-unique-constraint", .danger, [.dependsOnSize],
            why: "The index is built under ACCESS EXCLUSIVE, while readers and writers wait.",
            instead: "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … UNIQUE USING INDEX."
        ) { scene in
            scene.actions.filter { isNewKey($0, "CONSTR_UNIQUE") }
                .map { LintRule.Flag($0.table, "a unique constraint is built under a lock") }
        },
        LintRule(
            "adding-exclusion-constraint", .danger, [.dependsOnSize],
            why: "Its index is built under ACCESS EXCLUSIVE, and cannot be built concurrently.",
            instead: "Make a new table with the constraint and copy the rows in batches."
        ) { scene in
            scene.actions.filter { $0.constraintKind == "CONSTR_EXCLUSION" }
                .map { LintRule.Flag($0.table, "an exclusion constraint is added") }
        },
        LintRule(
            "ban-drop-constraint", .danger, [.fineInContract],
            why: "Programs that run count on what it guarantees, and rows that break it do not "
                + "go away.",
            instead: "Drop it in a contract file, when no program counts on it."
        ) { scene in
            if scene.kind == "AlterDomainStmt", scene.fields["subtype"]?.text == "X" {
                return [LintRule.Flag(nil, "a domain loses a constraint")]
            }
            return scene.actions("AT_DropConstraint").filter { action in
                // To be made anew at once is a change of the constraint, not its end.
                !scene.peers.contains { peer in
                    peer.index >= scene.index && addsConstraint(peer.tree, action.name)
                }
            }.map { LintRule.Flag($0.table, "\($0.name) is dropped") }
        },
        LintRule(
            "ban-alter-domain-with-add-constraint", .danger,
            why: "Every table with a column of the domain is read while its writers wait.",
            instead: "Use the base type, and a CHECK … NOT VALID on each table."
        ) { scene in
            // C is ADD CONSTRAINT, O is SET NOT NULL.
            guard scene.kind == "AlterDomainStmt",
                ["C", "O"].contains(scene.fields["subtype"]?.text)
            else { return [] }
            return [LintRule.Flag(nil, "a domain gets a constraint")]
        },
        LintRule(
            "ban-create-domain-with-constraint", .advice,
            why: "A domain's constraint cannot be changed without reading every table that uses "
                + "it, and a new column of it rewrites its table.",
            instead: "Use the base type with a CHECK on the table."
        ) { scene in
            guard scene.kind == "CreateDomainStmt",
                scene.fields["constraints"]?.list.contains(where: {
                    ["CONSTR_CHECK", "CONSTR_NOTNULL"]
                        .contains($0["Constraint"]?["contype"]?.text)
                }) == true
            else { return [] }
            return [LintRule.Flag(nil, "a domain has a constraint")]
        },
    ]

    private static func isNewKey(_ action: LintScene.Action, _ kind: String) -> Bool {
        if action.subtype == "AT_AddColumn" { return action.column?.constraint(kind) != nil }
        return action.constraintKind == kind && action.constraint?["indexname"] == nil
    }

    private static func isAddedBefore(_ action: LintScene.Action, in scene: LintScene) -> Bool {
        scene.peers.contains { $0.index < scene.index && addsConstraint($0.tree, action.name) }
    }

    private static func addsConstraint(_ tree: SyntaxTree, _ name: String) -> Bool {
        (tree["AlterTableStmt"]?["cmds"]?.list ?? []).contains {
            $0["AlterTableCmd"]?["subtype"]?.text == "AT_AddConstraint"
                && $0["AlterTableCmd"]?["def"]?["Constraint"]?["conname"]?.text == name
        }
    }
}
