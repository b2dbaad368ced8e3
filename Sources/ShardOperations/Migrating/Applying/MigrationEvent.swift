/// What happens in one database while it is migrated.
public struct MigrationEvent: Sendable {
    public enum What: Sendable {
        /// Another runner is at this database; in words who.
        case waitingForRunner(String)
        /// Moves are under way, and would break; in words which.
        case waitingForMoves(String)
        /// Statement `number` of `count` begins. All before it are done.
        case begins(Migration, number: Int, count: Int)
        /// The running statement waits for a lock; in words whose.
        case waitingForLock(Migration, String)
        /// The lock was not free in time: everything of the file was rolled back, and it is tried
        /// again when the holder is gone, or after `pause`.
        case triesAgain(Migration, pause: Duration)
        /// A statement had been stopped in the middle; what was left of it is removed.
        case mends(Migration, String)
        /// It is in the history.
        case applied(Migration, Duration)
        /// It is no more in the history.
        case undone(Migration, Duration)
        /// All of the database is done.
        case finished(applied: [Int])
        /// In words why.
        case failed(String)
    }

    /// The shard's name, or `catalog`.
    public var database: String
    public var what: What

    public init(database: String, what: What) {
        self.database = database
        self.what = what
    }
}
