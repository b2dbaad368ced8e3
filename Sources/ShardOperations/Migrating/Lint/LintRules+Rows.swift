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
            why: "PostgreSQL refuses to name one column twice.",
            instead: "Keep one of them."
        ) { scene in
            columnLists(scene).compactMap { list in
                var names: Set<String> = []
                return list.first { !names.insert($0).inserted }
            }.prefix(1).map {
                LintRule.Flag(scene.fields.relation(), "\($0) is named twice")
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

    /// The lists of columns in a statement that must not name one twice.
    private static func columnLists(_ scene: LintScene) -> [[String]] {
        let fields = scene.fields
        let targets = { (tree: SyntaxTree?) in
            (tree?.list ?? []).compactMap { item -> String? in
                // a.x = 1 and a[1] = 1 change a part, and another part is another column.
                let target = item["ResTarget"]
                return target?["indirection"] == nil ? target?["name"]?.text : nil
            }
        }
        switch scene.kind {
        case "UpdateStmt":
            return [targets(fields["targetList"])]
        case "InsertStmt":
            return [targets(fields["cols"]), targets(fields["onConflictClause"]?["targetList"])]
        case "MergeStmt":
            return (fields["mergeWhenClauses"]?.list ?? [])
                .map { targets($0["MergeWhenClause"]?["targetList"]) }
        case "CreateStmt":
            return [
                (fields["tableElts"]?.list ?? []).compactMap { $0["ColumnDef"]?["colname"]?.text }
            ]
        case "ViewStmt":
            let aliases = fields["aliases"]?.names ?? []
            return [
                aliases.isEmpty
                    ? targets(fields["query"]?["SelectStmt"]?["targetList"]) : aliases
            ]
        default:
            return []
        }
    }
}
