public import Postgres

/// A row of a database's own history of migrations.
public struct HistoryEntry: Sendable, Equatable {
    public var version: Int
    public var title: String
    public var checksum: String
    public var appliedAt: Timestamp

    public init(version: Int, title: String, checksum: String, appliedAt: Timestamp) {
        self.version = version
        self.title = title
        self.checksum = checksum
        self.appliedAt = appliedAt
    }
}
