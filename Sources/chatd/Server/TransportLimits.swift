/// The bounds of connections and requests, each with its reason.
struct TransportLimits: Sendable {
    /// Connections at most; more wait in the kernel's queue until one ends. Lowered to what the
    /// process may open.
    var connections = 20_000
    /// Descriptors that connections leave to everything else: shards, Redis, files.
    var reservedDescriptors = 256
    /// Connections that may wait to be accepted: a server's worth comes back within seconds.
    var backlog = 4_096
    /// The start of a connection up to the end of its first head. Whoever needs longer types.
    var headPatience: Duration = .seconds(10)
    /// One request's body, first byte to last.
    var bodyPatience: Duration = .seconds(15)
    /// A request's head up to the last byte of its answer, which a client may be slow to read: a
    /// page of history at 9 KB a second.
    var answerPatience: Duration = .seconds(60)
    /// An HTTP connection without a request.
    var idle: Duration = .seconds(60)
    /// Bytes of one header field, and of the request's first line.
    var headerFieldBytes = 16 * 1_024
    /// Bytes of all header fields of a request.
    var headerBytes = 32 * 1_024
    /// Header fields of a request; browsers send some twenty.
    var headerFields = 100
    /// Bytes of a body after which the connection is cut: an answer was given long before.
    var bodyBytesAtMost = 1_024 * 1_024
    /// Fragments of one message: a client that needs more sends single bytes.
    var fragments = 1_024
    /// Pings and pongs of one client in a second, and at once: a client needs one in some seconds,
    /// and each costs as much as a frame that is counted.
    var controlFramesPerSecond = 100
    /// Reads of one connection before it is the turn of the next one on its loop.
    var readsPerTurn: UInt = 1
    /// Bytes of the buffer that each connection keeps for reading, as long as it does not fill it: a
    /// heartbeat, a message of some lines, the head of a request.
    var readBytes = 512
    /// Bytes of one read of a connection that has filled its buffers.
    var readBytesAtMost = 64 * 1_024
    /// How long a socket that was closed may take to answer the close.
    var closePatience: Duration = .seconds(2)
    /// The shortest time between two pings: one in five or six heartbeats, because a ping and its pong
    /// cost as much as a heartbeat. That the client lives is told by its heartbeats.
    var pingInterval: Duration = .seconds(30)
    /// Bytes waiting in a socket above which its pings are not answered any more.
    var pongBytes = 64 * 1_024
    /// Payloads up to this size are copied behind their header: cheaper than a buffer of its own.
    var copiedPayloadBytes = 4 * 1_024
    /// Bytes that a socket is written within one turn before the kernel is given them: so a client that
    /// does not read is noticed before much more is kept for it than is allowed.
    var unflushedBytes = 64 * 1_024
    /// How long `/readyz` waits for a dependency.
    var readinessPatience: Duration = .seconds(2)
    /// For how long an answer of `/readyz` is repeated: its callers must not become a load.
    var readinessAge: Duration = .seconds(1)
    /// How often the files of the certificate are looked at.
    var certificateInterval: Duration = .seconds(1)
    /// How long stopping waits for requests, messages and sockets before it lets go of them.
    var stopPatience: Duration = .seconds(8)
    /// This long after the drain the process ends, whatever still runs.
    var stopDeadline: Duration = .milliseconds(9_500)
}
