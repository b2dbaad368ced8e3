/// Types that a new column should not have.
extension LintRules {
    static let columnTypes: [LintRule] = [
        typeRule(
            "prefer-bigint-over-int", ["int4", "serial", "serial4"],
            why: "32 bits end at 2.1 thousand million, and changing the type later rewrites the "
                + "table.",
            instead: "Use bigint."),
        typeRule(
            "prefer-bigint-over-smallint", ["int2", "smallserial", "serial2"],
            why: "16 bits end at 32,767, and changing the type later rewrites the table.",
            instead: "Use bigint."),
        typeRule(
            "prefer-identity",
            ["serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"],
            why: "The sequence of a serial column has rights and dependencies of its own.",
            instead: "Use GENERATED ALWAYS AS IDENTITY; for rows of rooms a UUID, which no other "
                + "shard gives."),
        LintRule(
            "prefer-text-field", .advice, [.onNewTables],
            why: "A limit in the type is hard to change, and costs as much as text.",
            instead: "Use text, with a CHECK for its length."
        ) { scene in
            scene.columns.filter {
                ["varchar", "_varchar"].contains($0.type?.name)
                    && $0.type?.modifiers.isEmpty == false
            }.map { LintRule.Flag($0.table, "\($0.name) is varchar with a limit") }
        },
        typeRule(
            "prefer-timestamptz", ["timestamp"],
            why: "A timestamp without its zone means another moment on each machine.",
            instead: "Use timestamptz."),
        typeRule(
            "ban-char-field", ["bpchar", "char"],
            why: "char(n) is padded with blanks, which surprise comparisons and programs.",
            instead: "Use text."),
    ]

    private static func typeRule(
        _ name: String, _ types: Set<String>, why: String, instead: String
    ) -> LintRule {
        LintRule(name, .advice, [.onNewTables], why: why, instead: instead) { scene in
            scene.columns.filter { column in
                column.type.map { types.contains($0.elementName) } ?? false
            }.map { LintRule.Flag($0.table, "\($0.name) is \($0.type?.description ?? "")") }
        }
    }
}

extension ColumnType {
    var isSerial: Bool {
        ["serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"].contains(name)
    }

    /// Without what makes it an array.
    var elementName: String { name.hasPrefix("_") ? String(name.dropFirst()) : name }
}
