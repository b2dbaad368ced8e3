/// What cannot be read, and what comments allow.
extension LintRules {
    static let comments: [LintRule] = [
        unreadableRule, allowWithoutReasonRule, unknownRuleRule, unusedAllowRule,
    ]

    private static let unreadableRule = LintRule(
        "unreadable", .danger,
        why: "It is an error, or newer than the grammar of PostgreSQL \(SyntaxTree.version), which "
            + "is what the linter knows.",
        instead:
            "Mend it; or try it on a server, see what it locks and whether it rewrites or reads "
            + "a table, and allow it with that reason.")

    private static let allowWithoutReasonRule = LintRule(
        "allow-without-reason", .danger,
        why: "Whoever reads the file later cannot tell whether the exception still holds.",
        instead: "Write -- shardctl: allow=RULE reason=\"…\".")

    private static let unknownRuleRule = LintRule(
        "unknown-rule", .danger,
        why: "A rule of this name does not exist, so nothing is allowed.",
        instead: "Take the name from the finding.")

    private static let unusedAllowRule = LintRule(
        "unused-allow", .advice,
        why: "The statement does not break this rule; the exception would hide the next mistake.",
        instead: "Remove it.")

    static func unreadable(_ file: LintFile, _ problem: SQLProblem) -> LintFinding {
        unreadableRule.finding(file, line: problem.line, LintRule.Flag(nil, problem.what))
    }

    static func allowWithoutReason(_ file: LintFile, _ statement: SQLStatement) -> LintFinding {
        allowWithoutReasonRule.finding(
            file, line: statement.line, LintRule.Flag(nil, "an allow has no reason"))
    }

    static func unknownRule(
        _ file: LintFile, _ statement: SQLStatement, _ rule: String
    ) -> LintFinding {
        unknownRuleRule.finding(
            file, line: statement.line, LintRule.Flag(nil, "there is no rule '\(rule)'"))
    }

    static func unusedAllow(
        _ file: LintFile, _ statement: SQLStatement, _ rule: String
    ) -> LintFinding {
        unusedAllowRule.finding(
            file, line: statement.line, LintRule.Flag(nil, "nothing here breaks '\(rule)'"))
    }
}
