/// Statements that change rows.
extension LintRules {
    static let rows: [LintRule] = [
        LintRule(
            "update-without-where", .danger, [.dependsOnSize],
            why: "All rows are locked and written again in one transaction, and dead rows double "
                + "the table.",
            instead: "Update in small batches by key, outside of migrations or in a file with "
                + "transaction=off."
        ) { scene in
            guard scene.kind == "UpdateStmt", scene.fields["whereClause"] == nil else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "every row is updated")]
        },
        LintRule(
            "delete-without-where", .danger,
            why: "All rows are lost.",
            instead: "Say which rows are to go, and delete them in small batches."
        ) { scene in
            guard scene.kind == "DeleteStmt", scene.fields["whereClause"] == nil,
                scene.fields["usingClause"] == nil
            else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "every row is deleted")]
        },
        LintRule(
            "ban-duplicate-column-assignments", .danger, [.onNewTables],
            why: "PostgreSQL refuses to set one column twice.",
            instead: "Keep one of the assignments."
        ) { scene in
            var names: Set<String> = []
            let isTwice: (SyntaxTree) -> Bool = { target in
                target["ResTarget"]?["indirection"] == nil
                    && target["ResTarget"]?["name"]?.text.map { !names.insert($0).inserted } == true
            }
            let targets =
                scene.kind == "UpdateStmt"
                ? scene.fields["targetList"] : scene.fields["onConflictClause"]?["targetList"]
            return (targets?.list ?? []).filter(isTwice).prefix(1).map {
                let name = $0["ResTarget"]?["name"]?.text ?? ""
                return LintRule.Flag(scene.fields.relation(), "\(name) is set twice")
            }
        },
        LintRule(
            "rows-with-ddl", .advice, [.dependsOnSize],
            why: "The locks of the file's DDL are kept while the rows are changed.",
            instead: "Change the rows in a file of their own, in small batches."
        ) { scene in
            guard ["UpdateStmt", "DeleteStmt"].contains(scene.kind), scene.file.isTransactional,
                let table = scene.fields.relation(), scene.isRegistered(table),
                scene.peers.contains(where: { !$0.blocked.isEmpty })
            else { return [] }
            return [LintRule.Flag(table, "rows change in one transaction with DDL")]
        },
    ]
}
