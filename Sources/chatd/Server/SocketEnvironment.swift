import NIOCore

/// What all sockets of a server share: kept once, not in each of ten thousand.
final class SocketEnvironment: Sendable {
    /// Makes the frame that goes before a close for `reason`.
    typealias Farewell = @Sendable (_ code: CloseCode, _ reason: String) -> ByteBuffer

    /// Bytes of one message, fragments together.
    let messageBytes: Int
    let limits: TransportLimits
    let sockets: OpenSockets
    let metrics: ChatMetrics
    /// For closes that no session decides; nil: nothing goes before them.
    let bye: Farewell?

    init(
        messageBytes: Int, limits: TransportLimits, sockets: OpenSockets,
        metrics: ChatMetrics = ChatMetrics(), bye: Farewell? = nil
    ) {
        self.bye = bye
        self.messageBytes = messageBytes
        self.limits = limits
        self.sockets = sockets
        self.metrics = metrics
    }
}
