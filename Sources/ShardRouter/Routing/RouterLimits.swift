/// The bounds of a router, each with its reason.
public struct RouterLimits: Sendable {
    /// Rows in one batch. Beyond some hundreds a row gets no cheaper, only later.
    public var batchRows = 256
    /// Encoded texts of one batch, in bytes: less than a socket's send buffer.
    public var batchBytes = 192 * 1_024
    /// Batches of one shard on their way at once: one commits while the next is built.
    public var lanes = 2
    /// So many messages must wait before another lane is used beside one that is on its way: fewer
    /// are cheaper in the batch after it, which begins in less than a millisecond.
    public var laneRows = 32
    /// Unless that one is on its way for so long: it may wait for a lock of one of its rooms.
    public var laneDelay = Duration.milliseconds(10)
    /// Messages of one shard that wait or are on their way. A full queue refuses at once.
    public var queuedRows = 20_000
    /// Texts of one shard that wait or are on their way, in bytes.
    public var queuedBytes = 32 * 1_024 * 1_024
    /// The connections to one shard.
    public var pool = PoolLimits()
    /// How long one batch may take before it is given up and repeated: a commit takes
    /// milliseconds, on a disk in trouble a second or two.
    public var batch = Duration.seconds(3)
    /// The first pause after a failure; it doubles up to ``longestPause``, with jitter.
    public var firstPause = Duration.milliseconds(50)
    public var longestPause = Duration.seconds(2)
    /// How long a caller waits until the overflow has a message: one commit to a disk, with all
    /// that waits before it.
    public var overflow = Duration.seconds(5)
    /// When messages are turned away from a shard that does not answer.
    public var circuit = CircuitLimits()
    /// How soon a room whose slot is fenced or on its way is tried again: a fence lasts 10–20 ms.
    public var fencePause = Duration.milliseconds(5)
    /// A fence that has lasted this long has lost its runner: the router lifts it. Runners lift theirs
    /// after fractions of a second.
    public var staleFence = Duration.seconds(5)
    /// The shortest time after which a refused caller is asked to come back.
    public var overloadPause = Duration.milliseconds(250)
    /// The longest one: a queue that needs more than this is not worth waiting for.
    public var longestOverloadPause = Duration.seconds(10)
    /// How long a connection to the catalog, and a question to it, may take.
    public var catalog = Duration.seconds(5)
    /// How often the catalog is read although it announced nothing.
    public var catalogPoll = Duration.seconds(10)
    /// How often waiting messages are looked at for their deadlines.
    public var sweep = Duration.milliseconds(20)

    public init() {}
}
