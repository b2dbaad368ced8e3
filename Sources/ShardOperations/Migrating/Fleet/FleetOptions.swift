/// How a fleet is migrated.
public struct FleetOptions: Sendable {
    /// The last version wanted; nil is all.
    public var upTo: Int?
    /// The shard that goes first, alone, and is checked before the others; nil is the first one.
    public var canary: String?
    /// Shards that are migrated at the same time.
    public var parallel = 8
    /// After so many failed shards no other begins; those that run end.
    public var maxFailures = 0
    /// Goes on with a run that was stopped, and with nothing else.
    public var isResuming = false
    /// A query for the canary: one row whose first column is true.
    public var check: String?
    /// How long moves that are under way are waited for; zero refuses at once.
    public var movesPatience = Duration.zero
    /// Whether files with dangerous findings of the lint are applied all the same.
    public var acceptsFindings = false
    /// Whether `down` may take back what these programs themselves need.
    public var takesLibraryBack = false
    public var limits = MigrationLimits()

    public init() {}

    func validate() throws {
        guard (1...256).contains(parallel) else {
            throw OperationError.refused(
                "--parallel \(parallel) is outside 1 … 256", next: "choose another")
        }
        guard (0...10_000).contains(maxFailures) else {
            throw OperationError.refused(
                "--max-failures \(maxFailures) is outside 0 … 10,000", next: "choose another")
        }
        if let upTo, upTo < 1 {
            throw OperationError.refused(
                "--to \(upTo) is no version", next: "shardctl migrate status")
        }
    }
}
