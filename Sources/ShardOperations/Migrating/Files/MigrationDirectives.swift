/// What the first line of a migration says about how to apply it:
/// `-- shardctl: lock_timeout=500ms phase=contract`.
public struct MigrationDirectives: Sendable, Equatable {
    /// When a file of a release may be applied.
    public enum Phase: String, Sendable {
        /// Before the new servers: the old ones go on working with it.
        case expand
        /// After the last old server is gone: it takes away what only old ones use.
        case contract
    }

    /// Why the line cannot be followed, in words for people.
    struct Problem: Error, CustomStringConvertible {
        var description: String
    }

    /// Whether the whole file commits together. Without it each statement commits by itself, as
    /// `CREATE INDEX CONCURRENTLY` and its like need.
    public var isTransactional = true
    /// How long one statement may wait for a lock. Whoever comes after it waits behind it, so it is
    /// short, and the file is tried again. nil leaves it to the runner: ``MigrationLimits/lockTimeout``
    /// for what blocks others while it waits, no limit for what does not.
    public var lockTimeout: Duration?
    /// How long one statement may run; zero is no limit. nil leaves it to the runner:
    /// ``MigrationLimits/statementTimeout`` in a transaction, where locks are held, no limit outside.
    public var statementTimeout: Duration?
    public var phase = Phase.expand
    /// Whether every statement of the file may run twice: one whose end nobody saw is then repeated.
    public var isRepeatable = false

    public init() {}

    /// Reads the first line of `sql`; without directives everything has its default.
    init(sql: String) throws(Problem) {
        let line = String(sql.prefix { $0 != "\n" })
        guard line.hasPrefix(Self.prefix) else {
            // Somebody meant one: taking it for a comment would apply the file in another way.
            guard !Self.resemblesDirective(line) else {
                throw Problem(
                    description: "the first line looks like directives, which begin with "
                        + "'\(Self.prefix)'")
            }
            return
        }
        let words = line.dropFirst(Self.prefix.count).split { $0.isWhitespace }
        // An `allow=` in the first line belongs to the first statement: the lint reads it.
        guard words.first?.hasPrefix("allow=") != true else { return }
        for word in words { try read(String(word)) }
    }

    private static let prefix = "-- shardctl:"

    static func resemblesDirective(_ line: String) -> Bool {
        let plain = line.lowercased().filter { !$0.isWhitespace }
        return plain.hasPrefix("--shardctl")
    }

    /// Directives stand in the first line alone; elsewhere only `allow=` does.
    static func check(_ statement: SQLStatement, isFirst: Bool) throws(Problem) {
        for (index, comment) in statement.comments.enumerated() {
            guard resemblesDirective("--" + comment), !(isFirst && index == 0) else { continue }
            guard comment.hasPrefix("shardctl: allow=") else {
                throw Problem(
                    description: "'-- \(comment)' before the statement in line \(statement.line): "
                        + "directives stand in the first line of the file")
            }
        }
        let names = ["transaction", "lock_timeout", "statement_timeout", "phase", "repeatable"]
        for comment in statement.comments where comment.hasPrefix("shardctl: allow=") {
            // Behind the reason, which may say anything.
            let rest = comment.split(separator: "\"").last.map(String.init) ?? ""
            guard let name = names.first(where: { rest.contains("\($0)=") }) else { continue }
            throw Problem(
                description:
                    "\(name)= stands behind an allow=: directives have a line of their own, "
                    + "the first")
        }
    }

    private mutating func read(_ word: String) throws(Problem) {
        let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
        switch (parts.first, parts.count == 2 ? parts[1] : "") {
        case ("lock_timeout", let value): lockTimeout = try Self.time(value, of: "lock_timeout")
        case ("statement_timeout", let value):
            statementTimeout = try Self.time(value, of: "statement_timeout")
        case ("transaction", "on"): isTransactional = true
        case ("transaction", "off"): isTransactional = false
        case ("repeatable", "on"): isRepeatable = true
        case ("repeatable", "off"): isRepeatable = false
        case ("phase", "expand"): phase = .expand
        case ("phase", "contract"): phase = .contract
        case ("transaction", let value), ("repeatable", let value):
            throw Problem(description: "'\(value)' in '\(word)' is neither on nor off")
        case ("phase", let value):
            throw Problem(description: "phase=\(value) is neither expand nor contract")
        default:
            throw Problem(
                description: "there is no directive '\(word)'; there are transaction=on|off, "
                    + "lock_timeout=TIME, statement_timeout=TIME, phase=expand|contract and "
                    + "repeatable=on|off")
        }
    }

    /// `500ms`, `2s`, `5min`, or `0` for no limit; an hour at most.
    private static func time(_ text: String, of name: String) throws(Problem) -> Duration {
        if text == "0" { return .zero }
        for (unit, factor) in [("ms", 1), ("min", 60_000), ("s", 1_000)] where text.hasSuffix(unit)
        {
            guard let number = Int(text.dropLast(unit.count)),
                (1...3_600_000 / factor).contains(number)
            else { break }
            return .milliseconds(number * factor)
        }
        throw Problem(
            description: "\(name)=\(text) is no time such as 500ms, 2s or 5min, up to an hour")
    }
}
