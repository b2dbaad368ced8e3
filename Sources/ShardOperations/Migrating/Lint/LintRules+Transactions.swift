/// What belongs into one transaction, and what does not.
extension LintRules {
    static let transactions: [LintRule] = [
        LintRule(
            "transaction-nesting", .danger,
            why: "The file already runs in one transaction with its history row; this would end "
                + "it early, or do nothing.",
            instead: "Leave it out, or split the file."
        ) { scene in
            guard scene.effect.controlsTransaction, scene.file.isTransactional else { return [] }
            return [LintRule.Flag(nil, "a transactional file controls its transaction")]
        },
        LintRule(
            "transaction-control", .danger,
            why: "Each statement of the file is journalled by itself, which a transaction of its "
                + "own would undo.",
            instead: "Put what belongs together into a transactional file."
        ) { scene in
            guard scene.effect.controlsTransaction, !scene.file.isTransactional else { return [] }
            return [LintRule.Flag(nil, "a file without a transaction begins or ends one")]
        },
        LintRule(
            "ban-uncommitted-transaction", .danger,
            why: "Its locks stay, and its work is lost when the connection ends.",
            instead: "Leave BEGIN out: the runner begins and commits."
        ) { scene in
            guard isBegin(scene.tree) else { return [] }
            let ends = ["TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK", "TRANS_STMT_PREPARE"]
            let isEnded = scene.peers.contains {
                $0.index > scene.index
                    && ends.contains($0.tree["TransactionStmt"]?["kind"]?.text ?? "")
            }
            return isEnded ? [] : [LintRule.Flag(nil, "a transaction is never ended")]
        },
        LintRule(
            "cannot-run-in-transaction", .danger,
            why: "PostgreSQL refuses it in a transaction, or, for a new enum value, refuses to "
                + "use it there.",
            instead: "Put it into a file of its own whose first line says transaction=off."
        ) { scene in
            guard scene.file.isTransactional, !scene.effect.canRunInTransaction,
                scene.kind != "IndexStmt"
            else { return [] }
            return [
                LintRule.Flag(scene.strongestRelation, "it does not belong into a transaction")
            ]
        },
        LintRule(
            "mixed-transaction-off", .advice, [.onNewTables],
            why: "When a later statement fails, this one has happened; in a file of its own it "
                + "would be all or nothing.",
            instead: "Put it into a transactional file before or after this one."
        ) { scene in
            guard !scene.file.isTransactional, isPlainDefinition(scene.tree, scene.effect),
                scene.peers.contains(where: { !$0.effect.canRunInTransaction })
            else { return [] }
            return [LintRule.Flag(scene.strongestRelation, "it could run in a transaction")]
        },
        LintRule(
            "prefer-robust-stmts", .advice, [.onNewTables],
            why: "By hand, or by another tool, the file could not be run again after it stopped in "
                + "the middle.",
            instead: "Write IF EXISTS or IF NOT EXISTS, or put it into a transactional file."
        ) { scene in
            guard !scene.file.isTransactional, isFragile(scene) else { return [] }
            return [LintRule.Flag(scene.strongestRelation, "it cannot be repeated")]
        },
        timeoutRule("require-lock-timeout", "lock_timeout", isOff: true),
        timeoutRule("require-statement-timeout", "statement_timeout", isOff: true),
        LintRule(
            "require-timeout-settings", .advice,
            why: "The runner sets both timeouts for each statement, from the first line of the "
                + "file; this overrides it unseen.",
            instead: "Write it into the first line: -- shardctl: lock_timeout=500ms."
        ) { scene in
            ["lock_timeout", "statement_timeout"].filter { setting($0, scene) == false }
                .map { LintRule.Flag(nil, "\($0) is set by a statement") }
        },
    ]

    private static func timeoutRule(_ name: String, _ setting: String, isOff: Bool) -> LintRule {
        LintRule(
            name, .danger,
            why: "Without it a statement may wait, or work, for ever, and everybody waits behind "
                + "it.",
            instead: "Leave the setting to the first line: -- shardctl: \(setting)=2s."
        ) { scene in
            self.setting(setting, scene) == isOff
                ? [LintRule.Flag(nil, "\(setting) is switched off")] : []
        }
    }

    /// Whether a statement switches the setting off; nil where it does not touch it.
    private static func setting(_ name: String, _ scene: LintScene) -> Bool? {
        guard scene.kind == "VariableSetStmt" else { return nil }
        if scene.fields["kind"]?.text == "VAR_RESET_ALL" { return true }
        guard scene.fields["name"]?.text == name else { return nil }
        guard scene.fields["kind"]?.text == "VAR_SET_VALUE" else { return true }
        let value = scene.fields["args"]?.list.first
        return value?.constantNumber == 0 || ["0", "0ms", "0s"].contains(value?.constantText)
    }

    private static func isBegin(_ tree: SyntaxTree) -> Bool {
        ["TRANS_STMT_BEGIN", "TRANS_STMT_START"].contains(tree["TransactionStmt"]?["kind"]?.text)
    }

    /// DDL that is quick in a transaction; what takes long is often alone on purpose.
    private static func isPlainDefinition(_ tree: SyntaxTree, _ effect: StatementEffect) -> Bool {
        let isDefinition = ["Create", "Alter", "Drop", "Rename", "View", "Comment", "Grant"]
            .contains { tree.kind?.hasPrefix($0) == true }
        return isDefinition && effect.canRunInTransaction && !effect.scans
    }

    private static func isFragile(_ scene: LintScene) -> Bool {
        switch scene.kind {
        case "CreateStmt":
            return scene.createdTable != nil && !scene.fields.isSet("if_not_exists")
        case "IndexStmt":
            // A concurrent one is journalled, and looked for when it was interrupted.
            return !scene.fields.isSet("if_not_exists") && !scene.fields.isSet("concurrent")
        case "DropStmt":
            let types = ["OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_TYPE"]
            return types.contains(scene.fields["removeType"]?.text ?? "")
                && !scene.fields.isSet("missing_ok")
        case "AlterTableStmt":
            return (scene.fields["cmds"]?.list ?? []).contains { item in
                let command = item["AlterTableCmd"]
                switch command?["subtype"]?.text {
                case "AT_AddColumn", "AT_DropColumn", "AT_DropConstraint":
                    return command?.isSet("missing_ok") != true
                case "AT_AddConstraint":
                    return true
                default:
                    return false
                }
            }
        default:
            return false
        }
    }
}
