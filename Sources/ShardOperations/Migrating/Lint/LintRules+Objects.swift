/// Views, functions, types, schemas, and what they are called.
extension LintRules {
    static let objects: [LintRule] = [
        dropRule("ban-drop-view", ["OBJECT_VIEW", "OBJECT_MATVIEW"], "a view"),
        dropRule(
            "ban-drop-function",
            [
                "OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE",
            ], "a function"),
        dropRule("ban-drop-type", ["OBJECT_TYPE", "OBJECT_CAST", "OBJECT_OPERATOR"], "a type"),
        dropRule("ban-drop-domain", ["OBJECT_DOMAIN"], "a domain"),
        dropRule("ban-drop-schema", ["OBJECT_SCHEMA"], "a schema"),
        dropRule("ban-drop-sequence", ["OBJECT_SEQUENCE"], "a sequence"),
        dropRule("ban-drop-extension", ["OBJECT_EXTENSION"], "an extension"),
        dropRule("ban-drop-trigger", ["OBJECT_TRIGGER"], "a trigger"),
        dropRule("ban-drop-policy", ["OBJECT_POLICY"], "a policy"),
        LintRule(
            "drop-cascade", .danger,
            why: "It also drops what depends on it, on each database something else.",
            instead: "Name everything that is to go, and drop it without CASCADE."
        ) { scene in
            let isDrop = scene.kind == "DropStmt" || scene.kind == "DropOwnedStmt"
            let isWhole = isDrop && scene.fields["behavior"]?.text == "DROP_CASCADE"
            let isPart = (scene.fields["cmds"]?.list ?? []).contains {
                ["AT_DropColumn", "AT_DropConstraint"]
                    .contains($0["AlterTableCmd"]?["subtype"]?.text)
                    && $0["AlterTableCmd"]?["behavior"]?.text == "DROP_CASCADE"
            }
            guard isWhole || isPart else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "CASCADE drops what is not named")]
        },
        LintRule(
            "ban-drop-database", .danger,
            why: "All data is lost.",
            instead: "shardctl shard remove, when the shard owns nothing any more."
        ) { scene in
            scene.kind == "DropdbStmt" ? [LintRule.Flag(nil, "a database is dropped")] : []
        },
        LintRule(
            "renaming-object", .danger, [.fineInContract],
            why: "Programs that run, and functions that name it in text, know the old name only.",
            instead: "Make a second one with the new name; drop the old in a contract file."
        ) { scene in
            let type = scene.fields["renameType"]?.text ?? ""
            let isValue = scene.kind == "AlterEnumStmt" && scene.fields["oldVal"] != nil
            let isObject =
                scene.kind == "RenameStmt"
                && !["OBJECT_TABLE", "OBJECT_COLUMN", "OBJECT_ATTRIBUTE"].contains(type)
            guard isValue || isObject else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "something gets another name")]
        },
        LintRule(
            "ban-set-schema", .danger, [.fineInContract],
            why: "Programs that run look for it where it was.",
            instead: "Make it anew in the other schema; drop the old in a contract file."
        ) { scene in
            guard scene.kind == "AlterObjectSchemaStmt" else { return [] }
            return [LintRule.Flag(scene.fields.relation(), "it goes to another schema")]
        },
        LintRule(
            "ban-revoke", .danger, [.fineInContract],
            why: "Programs that run may lose a right that they need.",
            instead: "Revoke in a contract file, when nobody needs it."
        ) { scene in
            guard ["GrantStmt", "GrantRoleStmt"].contains(scene.kind),
                !scene.fields.isSet("is_grant"),
                // What everybody loses, programs have through a role of their own.
                scene.fields["grantees"]?.list.allSatisfy({
                    $0["RoleSpec"]?["roletype"]?.text == "ROLESPEC_PUBLIC"
                }) != true
            else { return [] }
            let first = scene.fields["objects"]?.list.first?.rangeVar
            return [LintRule.Flag(first, "rights are taken away")]
        },
        LintRule(
            "require-enum-value-ordering", .advice,
            why: "Without a place the value goes to the end, and the order cannot be changed.",
            instead: "ALTER TYPE … ADD VALUE … BEFORE or AFTER another."
        ) { scene in
            guard scene.kind == "AlterEnumStmt", scene.fields["oldVal"] == nil,
                scene.fields["newValNeighbor"] == nil
            else { return [] }
            return [LintRule.Flag(nil, "a new enum value has no place")]
        },
        LintRule(
            "ban-alter-sequence-values", .danger, [.fineInContract],
            why: "Numbers may come twice, and jumps surprise programs that run.",
            instead: "Make a new sequence, and use it in new code."
        ) { scene in
            let options = scene.fields["options"]?.list ?? []
            guard scene.kind == "AlterSeqStmt",
                options.contains(where: { $0["DefElem"]?["defname"]?.text != "owned_by" })
            else { return [] }
            return [LintRule.Flag(scene.fields.relation("sequence"), "a sequence changes")]
        },
        serverRule("ban-alter-system-options", ["AlterSystemStmt"], "the server's settings"),
        serverRule(
            "ban-alter-database-options", ["AlterDatabaseStmt", "AlterDatabaseSetStmt"],
            "the database's settings"),
        serverRule(
            "ban-alter-role-options", ["AlterRoleStmt", "AlterRoleSetStmt"], "a role"),
        LintRule(
            "require-table-schema", .advice, [.onNewTables],
            why: "Where the table goes depends on the search_path of whoever runs the file.",
            instead: "Write its schema, such as public.notes."
        ) { scene in
            guard let table = scene.createdTable, table.schema == nil else { return [] }
            return [LintRule.Flag(table, "\(table) has no schema")]
        },
        LintRule(
            "identifier-too-long", .advice, [.onNewTables],
            why: "PostgreSQL cuts names after 63 bytes without an error, and two of them may "
                + "become one.",
            instead: "Choose a shorter name."
        ) { scene in
            scene.statement.longIdentifiers.map { LintRule.Flag(nil, "\($0) is cut") }
        },
    ]

    private static func dropRule(
        _ name: String, _ types: Set<String>, _ what: String
    ) -> LintRule {
        LintRule(
            name, .danger, [.fineInContract],
            why: "Programs that run, and functions that name it in text, fail without it.",
            instead: "Stop using it first; drop it in a later file with phase=contract."
        ) { scene in
            guard scene.kind == "DropStmt",
                types.contains(scene.fields["removeType"]?.text ?? ""), !scene.isMadeAgain
            else { return [] }
            let first = scene.fields["objects"]?.list.first
            let isNamed = types.contains("OBJECT_VIEW") || types.contains("OBJECT_SEQUENCE")
            return [LintRule.Flag(isNamed ? first?.qualifiedName : nil, "\(what) is dropped")]
        }
    }

    private static func serverRule(
        _ name: String, _ kinds: Set<String>, _ what: String
    ) -> LintRule {
        LintRule(
            name, .advice,
            why: "It is no part of a database's schema: a dump does not hold it, and a new shard "
                + "gets it once for each database.",
            instead: "Set it where servers are set up."
        ) { scene in
            kinds.contains(scene.kind) ? [LintRule.Flag(nil, "\(what) is changed")] : []
        }
    }
}

extension SQLStatement {
    /// Names of more than 63 bytes, as they are written: the parser has cut them already.
    var longIdentifiers: [String] {
        guard text.utf8.count > 63 else { return [] }
        let pattern =
            #/--[^\n]*|/\*[\s\S]*?\*/|\$(?<tag>\w*)\$[\s\S]*?\$\k<tag>\$|[eE]?'(?:[^'\\]|\\.|'')*'|"(?<quoted>(?:[^"]|"")*)"|(?<word>[\p{L}_][\p{L}\p{N}_$]*)/#
        return text.matches(of: pattern).compactMap { match in
            let name = match.quoted ?? match.word
            return name.flatMap { $0.utf8.count > 63 ? String($0) : nil }
        }
    }
}
