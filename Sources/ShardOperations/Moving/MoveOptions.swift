/// How a move behaves.
public struct MoveLimits: Sendable {
    /// The longest time from the fence to the commit at the target. When it has passed, the fence is
    /// lifted and the move goes on catching up.
    public var fence = Duration.milliseconds(150)
    /// How long a move waits before it fences again, after the first lifted fence; then twice as long
    /// every time, up to ``longestPause``.
    public var pauseAfterLift = Duration.milliseconds(250)
    public var longestPause = Duration.seconds(10)
    /// A fence is not tried before the target is behind by no more than this.
    public var lag = Duration.milliseconds(50)
    /// Copies of one move that run beside each other.
    public var workers = 2
    /// Rows that one transaction copies, roughly: it holds the slots' rows at the target that long.
    public var rowsPerChunk = 50_000
    /// Rows that one transaction purges or wipes.
    public var rowsPerPurge = 5_000
    /// The copy is never slowed below this, in bytes per second.
    public var floorBytesPerSecond = 2.0 * 1_048_576
    /// A commit may take this much longer during a copy than before it, before the copy is slowed.
    public var latencyFactor = 2.0
    public var latencyAllowance = Duration.milliseconds(10)
    /// The move is aborted when it holds back more than this of the source's log, in bytes.
    public var heldLogBytes: Int64 = 8 << 30
    /// How long the source keeps its old copy.
    public var grace = Duration.seconds(3_600)
    /// Lifted fences of one runner before it gives up and leaves the move open.
    public var lifts = 30
    /// Connections that fail one after the other before a runner gives up; what it leaves can be
    /// resumed.
    public var failures = 20

    public init() {}
}

/// How far a move is, for people. The order is the usual one.
public enum MovePhase: String, Sendable, CaseIterable {
    case opened, checking, preparing, wiping, connecting, copying, catchingUp, verifying, switching
    case releasing, cleaning, done, aborting, aborted
}

/// What a runner tells about its move.
public struct MoveEvent: Sendable {
    public var move: Int64
    public var source: String
    public var target: String
    public var slots: Int
    public var phase: MovePhase
    /// Copied so far, of about this many.
    public var rows: Int64 = 0
    public var expectedRows: Int64 = 0
    public var bytes: Int64 = 0
    /// Since the runner took the move up.
    public var elapsed: Duration = .zero
    /// Since its copy began.
    public var copying: Duration = .zero
    /// What it waits for, or what happened, in a sentence.
    public var note: String?
}

/// Where a runner may be cut off; tests do it at each of these.
enum MovePoint: String, Sendable, CaseIterable {
    case opened, prepared, wiped, imported, published, slotMade, chunkCopied, copied, subscribed
    case caughtUp, compared, fenced, drained, marked, arrived, comparedAgain, activated, released
    case announced, slotDropped, closed
    case raised, lifted
    case barred, unsubscribed, slotDroppedByAbort, reopened, wipedByAbort
    case purgedBatch
}

/// How somebody follows, and tests disturb, a runner.
struct MoveWatch: Sendable {
    var event: @Sendable (MoveEvent) -> Void = { _ in }
    var reached: @Sendable (MovePoint, Move) async throws -> Void = { _, _ in }
}
