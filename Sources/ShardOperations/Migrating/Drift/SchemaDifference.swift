/// One thing in which a database is not what it has to be.
public struct SchemaDifference: Sendable, Equatable {
    public enum Change: Sendable, Equatable {
        case missing
        case extra
        case changed(from: String, to: String)
    }

    /// As it should be; an extra one as it is.
    public var object: SchemaObject
    public var change: Change
    /// What to know before running the statements; one line.
    public var remark: String?
    /// Run one after the other, not in one transaction: some say CONCURRENTLY.
    public var statements: [String]
    /// Whether the statements destroy data, so that nobody should run them without a thought.
    public var losesData = false

    /// A script that repairs it on that database. What would lose data is commented out.
    public var repair: String {
        let script = statements.map { $0 + ";" }.joined(separator: "\n")
        let lines = script.split(separator: "\n", omittingEmptySubsequences: false)
        let text = losesData ? lines.map { "-- " + $0 }.joined(separator: "\n") : script
        return ([remark.map { "-- " + $0 }, statements.isEmpty ? nil : text])
            .compactMap(\.self).joined(separator: "\n")
    }

    /// What differs between the two, in the order in which it can be repaired.
    ///
    /// The parts of what is missing or extra, such as a table's columns, are not listed beside it: its
    /// repair brings or takes them too. Where the repair of one needs another object that comes later,
    /// as in functions with a parsed body, a second look finds what is left.
    public static func differences(
        found: SchemaSnapshot, wanted: SchemaSnapshot
    ) -> [SchemaDifference] {
        guard found.fingerprint != wanted.fingerprint else { return [] }
        return SchemaComparison(found: found, wanted: wanted).differences()
    }
}
