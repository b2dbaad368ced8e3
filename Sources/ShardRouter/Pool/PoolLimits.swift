/// The bounds of the connections to one shard, each with its reason.
public struct PoolLimits: Sendable {
    /// Connections at once, lanes included: a server's backends cost memory, and more than a few
    /// for each core only wait for each other.
    public var connections = 8
    /// Connections that stay open when nothing happens, so that nobody waits for one.
    public var kept = 2
    /// Connections that are being made at once: many at a time hurt a server that has just started.
    public var connecting = 2
    /// Callers that wait for a connection; one more is refused at once.
    public var waiters = 1_000
    /// How long a connection may take to come about.
    public var connect = Duration.seconds(5)
    /// How long a reset may take before the connection is closed instead.
    public var reset = Duration.seconds(2)
    /// The first pause after a connection did not come about; it doubles, with jitter.
    public var firstPause = Duration.milliseconds(50)
    /// A server that is back is noticed this soon at the latest.
    public var longestPause = Duration.seconds(2)
    /// Above ``kept``, a connection that nobody used for so long is closed.
    public var idle = Duration.seconds(300)
    /// A connection is replaced after this time or up to a quarter less: backends grow, and new
    /// connections find servers that were added.
    public var age = Duration.seconds(3_600)

    public init() {}
}
