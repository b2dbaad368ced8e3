/// Tables whose rows move with their rooms, from shard to shard.
extension LintRules {
    static let sharding: [LintRule] = [
        LintRule(
            "unregistered-room-table", .danger, [.onNewTables],
            why: "Its rows stay behind when their rooms move to another shard.",
            instead: "select shard.register_table('…') in the same file."
        ) { scene in
            let table =
                scene.columns.first {
                    $0.name == "room_id" && !$0.isRetyped
                }?.table
            guard let table, !scene.isRegistered(table), scene.fields["partbound"] == nil,
                !["shard", "catalog", "pg_temp"].contains(table.schema)
            else { return [] }
            return [LintRule.Flag(table, "\(table) has a room_id and is not registered")]
        },
        LintRule(
            "drop-registered-table", .danger,
            why: "The list of tables that move names it: moves and their checks fail.",
            instead: "Write before it: select shard.unregister_table('…')."
        ) { scene in
            var tables = scene.dropped("OBJECT_TABLE")
            let isRenamed =
                scene.kind == "RenameStmt" && scene.fields["renameType"]?.text == "OBJECT_TABLE"
            if isRenamed || scene.kind == "AlterObjectSchemaStmt",
                let table = scene.fields.relation()
            {
                tables.append(table)
            }
            return tables.filter(scene.isRegistered).map {
                LintRule.Flag($0, "\($0) is registered and would be gone")
            }
        },
        LintRule(
            "room-id-changed", .danger,
            why: "Everything about a row's place hangs on room_id: text, never NULL, that name.",
            instead: "Leave it; make a new table for another way to place rows."
        ) { scene in
            var tables = scene.actions(
                "AT_DropColumn", "AT_AlterColumnType", "AT_DropNotNull"
            ).filter { $0.name == "room_id" }.map(\.table)
            if scene.kind == "RenameStmt", scene.fields["renameType"]?.text == "OBJECT_COLUMN",
                scene.fields["subname"]?.text == "room_id", let table = scene.fields.relation()
            {
                tables.append(table)
            }
            return tables.filter(scene.isRegistered)
                .map { LintRule.Flag($0, "room_id of a registered table changes") }
        },
        LintRule(
            "ban-replica-identity", .danger,
            why: "A move finds the rows to update and delete by it; without room_id in it the "
                + "table cannot move.",
            instead: "Keep a primary key with room_id as the replica identity."
        ) { scene in
            scene.actions.filter { action in
                scene.isRegistered(action.table)
                    && (action.subtype == "AT_ReplicaIdentity"
                        || action.subtype == "AT_DropConstraint" && isPrimaryKey(action, scene))
            }.map { LintRule.Flag($0.table, "what identifies its rows changes") }
        },
        LintRule(
            "trigger-on-registered-table", .danger, [.onNewTables],
            why: "It does not fire for rows that a move brings, so what it keeps elsewhere is "
                + "missing on the new shard; ENABLE ALWAYS makes it fire twice.",
            instead: "Do it in the statement that writes the row, or keep its result in a "
                + "registered table."
        ) { scene in
            var tables: [RelationName] = scene.actions(
                "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig"
            ).map(\.table)
            if scene.kind == "CreateTrigStmt", let table = scene.fields.relation() {
                tables.append(table)
            }
            return tables.filter(scene.isRegistered)
                .map { LintRule.Flag($0, "a trigger on a table that moves") }
        },
        LintRule(
            "sequence-on-registered-table", .danger, [.onNewTables],
            why: "Each shard counts for itself: numbers collide when rooms meet on one shard.",
            instead: "Use a UUID, or count per room as messages do."
        ) { scene in
            var found = scene.columns.filter { isNumbered($0.definition) }
                .map { ($0.table, $0.name) }
            found += scene.actions("AT_AddIdentity").map { ($0.table, $0.name) }
            found += scene.actions("AT_ColumnDefault").filter { draws($0.definition) }
                .map { ($0.table, $0.name) }
            return found.filter { scene.isRegistered($0.0) }
                .map { LintRule.Flag($0.0, "\($0.1) draws from a sequence") }
        },
        LintRule(
            "unique-without-room-id", .danger, [.onNewTables],
            why: "It holds on one shard only, and a move fails when two rooms bring the same key.",
            instead: "Make room_id part of the key."
        ) { scene in
            scene.uniqueKeys.filter {
                scene.isRegistered($0.table) && !$0.columns.contains("room_id")
            }.map {
                LintRule.Flag($0.table, "unique (\($0.columns.joined(separator: ", ")))")
            }
        },
        LintRule(
            "foreign-key-to-unregistered", .danger, [.onNewTables],
            why: "The row it refers to stays behind when the room moves.",
            instead: "Register the other table as well, or leave the foreign key out."
        ) { scene in
            scene.foreignKeys.filter {
                scene.isRegistered($0.table) && scene.isUnregistered($0.target)
            }.map { LintRule.Flag($0.table, "it refers to \($0.target), which does not move") }
        },
        LintRule(
            "foreign-key-to-registered", .danger, [.onNewTables],
            why: "The row it refers to leaves with its room, and the move fails or takes rows "
                + "along that are not its own.",
            instead: "Register this table as well, or leave the foreign key out."
        ) { scene in
            scene.foreignKeys.filter {
                scene.isRegistered($0.target) && scene.isUnregistered($0.table)
            }.map { LintRule.Flag($0.table, "it refers to \($0.target), which moves away") }
        },
        LintRule(
            "ddl-on-several-registered-tables", .advice,
            why: "The file locks one table after the other; a program that takes them in another "
                + "order deadlocks with it.",
            instead: "One file for each table."
        ) { scene in
            guard scene.file.isTransactional else { return [] }
            let before = scene.peers.filter { $0.index < scene.index }
                .reduce(into: Set<String>()) { $0.formUnion($1.blocked) }
                .intersection(scene.registered)
            let here = (scene.peers.first { $0.index == scene.index }?.blocked ?? [])
                .intersection(scene.registered).subtracting(before)
            guard !before.isEmpty, let name = here.sorted().first else { return [] }
            return [
                LintRule.Flag(
                    RelationName(parts: name.split(separator: ".").map(String.init)),
                    "locked after \(before.sorted().joined(separator: ", "))")
            ]
        },
    ]

    private static func isPrimaryKey(_ action: LintScene.Action, _ scene: LintScene) -> Bool {
        let known = scene.facts.relations[action.table.full]?.constraints[action.name]
        return known.map { $0.kind == "p" } ?? action.name.hasSuffix("_pkey")
    }

    private static func isNumbered(_ column: SyntaxTree) -> Bool {
        ColumnType(column["typeName"])?.isSerial == true
            || column.constraint("CONSTR_IDENTITY") != nil
            || draws(column.constraint("CONSTR_DEFAULT")?["raw_expr"])
    }

    private static func draws(_ value: SyntaxTree?) -> Bool {
        var found = false
        value?.visit { node in
            if node["FuncCall"]?["funcname"]?.names.last == "nextval" { found = true }
        }
        return found
    }
}
