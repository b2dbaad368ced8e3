/// Tables as a whole.
extension LintRules {
    static let tables: [LintRule] = [
        LintRule(
            "ban-drop-table", .danger, [.fineInContract],
            why: "Its rows are lost, and programs that still name it fail.",
            instead: "Stop using it first; drop it in a later file with phase=contract."
        ) { scene in
            (scene.dropped("OBJECT_TABLE") + scene.dropped("OBJECT_FOREIGN_TABLE"))
                .map { LintRule.Flag($0, "\($0) is dropped") }
        },
        LintRule(
            "renaming-table", .danger, [.fineInContract],
            why: "Programs that run know the old name and fail at once.",
            instead: "Keep the name, or leave a view with the old one in the same transaction."
        ) { scene in
            guard scene.kind == "RenameStmt", scene.fields["renameType"]?.text == "OBJECT_TABLE"
            else { return [] }
            let name = scene.fields["newname"]?.text ?? ""
            return [LintRule.Flag(scene.fields.relation(), "it is renamed to \(name)")]
        },
        LintRule(
            "ban-truncate", .danger,
            why: "All rows are lost, and ACCESS EXCLUSIVE keeps readers and writers out.",
            instead: "DELETE in small batches, outside of migrations."
        ) { scene in
            truncated(scene, isCascading: false)
                .map { LintRule.Flag($0, "\($0) is emptied") }
        },
        LintRule(
            "ban-truncate-cascade", .danger,
            why: "Every table that refers to it is emptied as well, whether you know it or not.",
            instead: "Name each table whose rows are to go."
        ) { scene in
            truncated(scene, isCascading: true)
                .map { LintRule.Flag($0, "\($0) is emptied, with all that refers to it") }
        },
        LintRule(
            "set-unlogged", .danger,
            why: "The table is rewritten, is empty after a crash, and its changes no longer "
                + "reach replicas or moves.",
            instead: "Keep it logged."
        ) { scene in
            scene.actions("AT_SetUnLogged").map { LintRule.Flag($0.table, "it becomes unlogged") }
        },
        LintRule(
            "set-logged", .danger, [.dependsOnSize],
            why: "Every row is written anew, and into the log, while readers and writers wait.",
            instead: "Make a logged table and copy the rows in batches."
        ) { scene in
            guard scene.effect.rewrites != .no else { return [] }
            return scene.actions("AT_SetLogged").map {
                LintRule.Flag($0.table, "it becomes logged")
            }
        },
        LintRule(
            "prefer-repack", .danger, [.dependsOnSize],
            why: "The table is written anew under ACCESS EXCLUSIVE.",
            instead: "Plain VACUUM keeps the size bounded; pg_repack shrinks a table online."
        ) { scene in
            let isFull =
                scene.kind == "VacuumStmt" && scene.fields["options"]?.hasOption("full") == true
            guard isFull || scene.kind == "ClusterStmt" else { return [] }
            let what = isFull ? "VACUUM FULL" : "CLUSTER"
            return [LintRule.Flag(scene.strongestRelation, "\(what) rewrites it under a lock")]
        },
        LintRule(
            "refresh-without-concurrently", .danger, [.dependsOnSize],
            why: "Readers of the view wait until it is computed anew.",
            instead: "Give it a unique index, and REFRESH MATERIALIZED VIEW CONCURRENTLY."
        ) { scene in
            guard scene.kind == "RefreshMatViewStmt", !scene.fields.isSet("concurrent") else {
                return []
            }
            return [LintRule.Flag(scene.fields.relation(), "its readers wait for a refresh")]
        },
        LintRule(
            "lock-table", .danger,
            why: "The lock is kept until the transaction ends, whatever that still does.",
            instead: "Let each statement take the lock that it needs."
        ) { scene in
            guard scene.kind == "LockStmt" else { return [] }
            return scene.effect.locks.filter { $0.level.blocksWriters }.map {
                LintRule.Flag(
                    RelationName(parts: $0.relation.split(separator: ".").map(String.init)),
                    "locked in \($0.level) mode")
            }
        },
        LintRule(
            "ban-disable-trigger", .danger,
            why: "What the trigger keeps true, such as foreign keys, is not kept for anybody "
                + "until it is enabled again.",
            instead: "Change the trigger's function, so that it knows the exception."
        ) { scene in
            scene.actions("AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser").map {
                LintRule.Flag($0.table, "a trigger is disabled")
            }
        },
        LintRule(
            "ban-create-rule", .danger,
            why: "A rule rewrites statements of programs that know nothing of it, and does not "
                + "run for rows that a move brings.",
            instead: "Use a trigger, a view, or the program."
        ) { scene in
            guard scene.kind == "RuleStmt" else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "a rule is made")]
        },
        LintRule(
            "require-concurrent-partition-detach", .advice,
            why: "ACCESS EXCLUSIVE on the parent keeps everybody out of all partitions.",
            instead: "DETACH PARTITION … CONCURRENTLY, in a file with transaction=off."
        ) { scene in
            scene.actions("AT_DetachPartition").filter {
                $0.definition?["PartitionCmd"]?.isSet("concurrent") != true
            }.map { LintRule.Flag($0.table, "a partition is detached under a lock") }
        },
        LintRule(
            "ban-detach-inheritance", .danger, [.fineInContract],
            why: "Programs that read the parent no longer see these rows.",
            instead: "Do it in a contract file, when nobody looks for them there."
        ) { scene in
            scene.actions("AT_DropInherit").map { LintRule.Flag($0.table, "it leaves its parent") }
        },
        LintRule(
            "ban-alter-row-level-security", .danger, [.fineInContract],
            why: "Programs that run see fewer rows, or more, from one moment to the next.",
            instead: "Make the policies first; switch in a contract file."
        ) { scene in
            scene.actions(
                "AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity",
                "AT_NoForceRowSecurity"
            ).map { LintRule.Flag($0.table, "row level security changes") }
        },
    ]

    private static func truncated(_ scene: LintScene, isCascading: Bool) -> [RelationName] {
        guard scene.kind == "TruncateStmt",
            (scene.fields["behavior"]?.text == "DROP_CASCADE") == isCascading
        else { return [] }
        return scene.fields["relations"]?.list.compactMap(\.rangeVar) ?? []
    }
}
