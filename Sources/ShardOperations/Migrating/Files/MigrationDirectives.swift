/// What the first line of a migration says about how to apply it:
/// `-- shardctl: lock_timeout=500ms`.
public struct MigrationDirectives: Sendable, Equatable {
    /// Why the line cannot be followed, in words for people.
    struct Problem: Error, CustomStringConvertible {
        var description: String
    }

    /// How long one statement may wait for a lock.
    public var lockTimeoutMilliseconds: Int

    public init(lockTimeoutMilliseconds: Int = 2_000) {
        self.lockTimeoutMilliseconds = lockTimeoutMilliseconds
    }

    /// Reads the first line of `sql`; without directives everything has its default.
    init(sql: String) throws(Problem) {
        self.init()
        let prefix = "-- shardctl:"
        guard let line = sql.split(separator: "\n", maxSplits: 1).first, line.hasPrefix(prefix)
        else { return }
        for word in line.dropFirst(prefix.count).split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            switch (parts.first, parts.count == 2 ? parts[1] : "") {
            case ("lock_timeout", let value):
                guard let milliseconds = Self.milliseconds(value) else {
                    throw Problem(
                        description: "lock_timeout=\(value) is no time such as 500ms or 2s")
                }
                lockTimeoutMilliseconds = milliseconds
            case ("transaction", "on"): break
            case ("transaction", "off"):
                throw Problem(
                    description: "transaction=off: this version applies every file in one "
                        + "transaction, so CREATE INDEX CONCURRENTLY and its like cannot run yet")
            default:
                throw Problem(description: "this version does not know the directive '\(word)'")
            }
        }
    }

    private static func milliseconds(_ text: String) -> Int? {
        let (digits, factor) =
            text.hasSuffix("ms")
            ? (text.dropLast(2), 1) : (text.hasSuffix("s") ? text.dropLast(1) : "", 1_000)
        guard let number = Int(digits), (1...3_600_000 / factor).contains(number) else {
            return nil
        }
        return number * factor
    }
}
