/// Columns that come, change and go.
extension LintRules {
    static let columns: [LintRule] = [
        LintRule(
            "adding-field-with-default", .danger, [.dependsOnSize],
            why: "Each row needs a value of its own, so the whole table is rewritten while readers "
                + "and writers wait.",
            instead: "Add the column without it, set the default for new rows in a second "
                + "statement, and fill the old rows in small batches."
        ) { scene in
            guard scene.effect.rewrites != .no else { return [] }
            return scene.actions("AT_AddColumn").filter { isFilledRowByRow($0, scene.facts) }
                .map { LintRule.Flag($0.table, "\(columnName($0)) is filled in every row") }
        },
        LintRule(
            "adding-required-field", .danger,
            why: "It fails on a table with rows, and running programs that do not know the column "
                + "can no longer insert.",
            instead: "Add it with a constant default, or nullable: SET NOT NULL comes when every "
                + "program fills it."
        ) { scene in
            scene.actions("AT_AddColumn").filter { action in
                let isGiven = ["CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"].contains {
                    action.column?.constraint($0) != nil
                }
                let isSerial = ColumnType(action.column?["typeName"])?.isSerial ?? false
                return action.column?.constraint("CONSTR_NOTNULL") != nil && !isGiven && !isSerial
            }.map { LintRule.Flag($0.table, "\(columnName($0)) is NOT NULL without a default") }
        },
        LintRule(
            "adding-not-nullable-field", .danger, [.dependsOnSize],
            why: "The whole table is read under ACCESS EXCLUSIVE to look for NULL.",
            instead: "ADD CONSTRAINT … CHECK (column IS NOT NULL) NOT VALID, VALIDATE it in the "
                + "next file, then SET NOT NULL: PostgreSQL takes the proof and reads nothing."
        ) { scene in
            scene.actions("AT_SetNotNull").filter {
                !scene.facts.isProvenNotNull($0.table.full, $0.name)
            }.map { LintRule.Flag($0.table, "\($0.name) becomes NOT NULL without a proof") }
        },
        LintRule(
            "changing-column-type", .danger,
            why: "The table and its indexes are rewritten while readers and writers wait, and "
                + "programs may not understand the new type.",
            instead: "Add a column of the new type, write both, copy in batches, switch the "
                + "readers, and drop the old one in a contract file."
        ) { scene in
            let changes =
                scene.effect.rewrites == .no ? [] : scene.actions("AT_AlterColumnType")
            let attributes = scene.attributeActions.filter { $0.subtype == "AT_AlterColumnType" }
            return (changes + attributes).map {
                let type = ColumnType($0.column?["typeName"])?.description ?? "another type"
                return LintRule.Flag($0.table, "\($0.name) becomes \(type)")
            }
        },
        LintRule(
            "ban-drop-column", .danger, [.fineInContract],
            why: "Its data is lost, and programs that still name it fail.",
            instead: "Stop using it first; drop it in a later file with phase=contract."
        ) { scene in
            (scene.actions + scene.attributeActions).filter { $0.subtype == "AT_DropColumn" }
                .map { LintRule.Flag($0.table, "\($0.name) is dropped") }
        },
        LintRule(
            "renaming-column", .danger, [.fineInContract],
            why: "Programs that run know the old name and fail at once.",
            instead: "Add a column with the new name and write both, or keep the name and give a "
                + "view the better one."
        ) { scene in
            guard scene.kind == "RenameStmt",
                ["OBJECT_COLUMN", "OBJECT_ATTRIBUTE"].contains(scene.fields["renameType"]?.text)
            else { return [] }
            let name = scene.fields["subname"]?.text ?? ""
            return [LintRule.Flag(scene.fields.relation(), "\(name) is renamed")]
        },
        LintRule(
            "ban-drop-not-null", .danger, [.fineInContract],
            why: "Programs that run count on a value and may fail when they meet NULL.",
            instead: "Teach all programs to read NULL first; then drop it in a contract file."
        ) { scene in
            if scene.kind == "AlterDomainStmt", scene.fields["subtype"]?.text == "N" {
                return [LintRule.Flag(nil, "a domain may hold NULL")]
            }
            return scene.actions("AT_DropNotNull").map {
                LintRule.Flag($0.table, "\($0.name) may become NULL")
            }
        },
        LintRule(
            "ban-drop-default", .danger, [.fineInContract],
            why: "Programs that run leave the column out and count on its default.",
            instead: "Let every program write the column first; drop it in a contract file."
        ) { scene in
            scene.actions("AT_ColumnDefault").filter { $0.definition == nil }.map {
                LintRule.Flag($0.table, "\($0.name) loses its default")
            }
        },
        LintRule(
            "ban-alter-identity", .danger, [.fineInContract],
            why: "Inserts of programs that run may fail, or get other numbers.",
            instead: "Add a new column for the new way of numbering."
        ) { scene in
            scene.actions("AT_AddIdentity", "AT_SetIdentity", "AT_DropIdentity").map {
                LintRule.Flag($0.table, "the identity of \($0.name) changes")
            }
        },
        LintRule(
            "ban-drop-generated-expression", .danger, [.fineInContract],
            why: "From then on nobody computes the column: programs that run leave it NULL.",
            instead: "Let every program write it first; drop the expression in a contract file."
        ) { scene in
            scene.actions("AT_DropExpression").map {
                LintRule.Flag($0.table, "\($0.name) is no longer computed")
            }
        },
    ]

    private static func columnName(_ action: LintScene.Action) -> String {
        action.column?["colname"]?.text ?? ""
    }

    private static func isFilledRowByRow(
        _ action: LintScene.Action, _ facts: SchemaFacts
    ) -> Bool {
        guard let column = action.column else { return false }
        let type = ColumnType(column["typeName"])
        if let value = column.constraint("CONSTR_DEFAULT")?["raw_expr"],
            Volatility.rewrite(of: value, facts) != .no
        {
            return true
        }
        return column.constraint("CONSTR_IDENTITY") != nil
            || column.constraint("CONSTR_GENERATED") != nil || type?.isSerial == true
            || type.flatMap { facts.domains[$0.name]?.isConstrained } == true
    }
}
