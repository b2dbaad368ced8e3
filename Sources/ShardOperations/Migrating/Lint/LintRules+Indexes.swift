/// Indexes that are made, rebuilt and dropped.
extension LintRules {
    static let indexes: [LintRule] = [
        LintRule(
            "require-concurrent-index-creation", .danger, [.dependsOnSize],
            why: "Writers wait until the whole index is built.",
            instead: "CREATE INDEX CONCURRENTLY, in a file with transaction=off."
        ) { scene in
            guard scene.kind == "IndexStmt", !scene.fields.isSet("concurrent") else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "an index is built under a lock")]
        },
        LintRule(
            "ban-concurrent-index-creation-in-transaction", .danger, [.onNewTables],
            why: "PostgreSQL refuses CREATE INDEX CONCURRENTLY inside a transaction.",
            instead: "Put it into a file of its own whose first line says transaction=off."
        ) { scene in
            guard scene.kind == "IndexStmt", scene.fields.isSet("concurrent"),
                scene.file.isTransactional
            else { return [] }
            return [
                LintRule.Flag(scene.fields.relation(), "CONCURRENTLY in a transactional file")
            ]
        },
        LintRule(
            "concurrent-if-not-exists", .danger, [.onNewTables],
            why: "After a failure an invalid index of that name is left, and IF NOT EXISTS takes "
                + "it for a good one: the index is never used, and a unique one protects nothing.",
            instead: "Leave out IF NOT EXISTS: an interrupted step is found in the journal, and "
                + "its invalid index is dropped and built again."
        ) { scene in
            guard scene.kind == "IndexStmt", scene.fields.isSet("concurrent"),
                scene.fields.isSet("if_not_exists")
            else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "an invalid index may be skipped")]
        },
        LintRule(
            "require-concurrent-index-deletion", .advice,
            why: "ACCESS EXCLUSIVE on the table queues behind its longest reader, and everybody "
                + "queues behind it.",
            instead: "DROP INDEX CONCURRENTLY, in a file with transaction=off."
        ) { scene in
            guard !scene.fields.isSet("concurrent") else { return [] }
            return scene.dropped("OBJECT_INDEX").filter { index in
                let table = scene.facts.indexes[index.full]?.table
                return table.map { !scene.newRelations.contains($0) } ?? true
            }.map { LintRule.Flag($0, "\($0) is dropped under a lock") }
        },
        LintRule(
            "require-concurrent-reindex", .danger, [.dependsOnSize],
            why: "Writers wait until the indexes are built again, and readers who want to use "
                + "them wait as well.",
            instead: "REINDEX … CONCURRENTLY, in a file with transaction=off."
        ) { scene in
            guard scene.kind == "ReindexStmt",
                scene.fields["params"]?.hasOption("concurrently") != true
            else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "indexes are rebuilt under a lock")]
        },
    ]
}
