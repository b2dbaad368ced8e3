/// Something in a migration that hurts, or could be better.
public struct LintFinding: Sendable, Equatable {
    public enum Severity: String, Sendable, Comparable {
        /// Style, or robustness.
        case advice
        /// Loses data, holds up readers or writers while it works, breaks programs that run, or
        /// breaks the moves of rooms.
        case danger

        public static func < (left: Severity, right: Severity) -> Bool {
            left == .advice && right == .danger
        }
    }

    /// The name of the rule, for `-- shardctl: allow=RULE reason="…"`.
    public var rule: String
    public var severity: Severity
    public var file: String
    /// Of the statement's first word, from 1.
    public var line: Int
    /// With its schema, where one is named.
    public var relation: String?
    public var what: String
    public var why: String
    /// What to write in its place.
    public var instead: String
    /// Whether it hurts on a big table only.
    public var dependsOnSize: Bool
}

/// A migration as the linter reads it.
public struct LintFile: Sendable {
    public var name: String
    /// Whether all of it runs in one transaction.
    public var isTransactional: Bool
    /// Whether it removes what no running program uses any more: `phase=contract`.
    public var isContract: Bool
    public var statements: [SQLStatement]

    public init(
        name: String, isTransactional: Bool = true, isContract: Bool = false,
        statements: [SQLStatement]
    ) {
        self.name = name
        self.isTransactional = isTransactional
        self.isContract = isContract
        self.statements = statements
    }
}
