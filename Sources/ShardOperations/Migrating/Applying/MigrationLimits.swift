/// The bounds of a migration; each has a directive or an option that overrides it.
public struct MigrationLimits: Sendable {
    /// How long a statement that blocks others while it waits may wait for its lock. Everybody who
    /// comes later waits as long.
    public var lockTimeout = Duration.milliseconds(100)
    /// How long one statement of a transactional file may run: it holds its locks meanwhile.
    public var statementTimeout = Duration.seconds(30)
    /// The whole time that one database may cost in waiting: for the lock of the runner, and for
    /// locks of tables, over all attempts.
    public var patience = Duration.seconds(600)
    /// The pause after the first attempt whose lock was not free; each later one is twice as long.
    public var firstPause = Duration.milliseconds(500)
    public var longestPause = Duration.seconds(10)
    /// How often somebody is asked whether he still holds the lock of the runner, or of a table.
    public var poll = Duration.milliseconds(100)
    /// After this time a statement that still runs is looked at: does it wait, and for whom?
    public var look = Duration.milliseconds(30)
    /// How long the server goes on with a statement whose runner is gone.
    public var orphan = Duration.seconds(2)

    public init() {}
}
