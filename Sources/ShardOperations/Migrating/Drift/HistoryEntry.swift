public import Postgres

/// A row of a database's own history of migrations.
public struct HistoryEntry: Sendable, Equatable {
    public var version: Int
    public var title: String
    public var checksum: String
    public var appliedAt: Timestamp
    /// Whether the file ran here; otherwise somebody has said that the database has what it does.
    public var isRun: Bool

    public init(
        version: Int, title: String, checksum: String, appliedAt: Timestamp, isRun: Bool = true
    ) {
        self.version = version
        self.title = title
        self.checksum = checksum
        self.appliedAt = appliedAt
        self.isRun = isRun
    }
}
