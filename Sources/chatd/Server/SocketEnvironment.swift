/// What all sockets of a server share: kept once, not in each of ten thousand.
final class SocketEnvironment: Sendable {
    /// Bytes of one message, fragments together.
    let messageBytes: Int
    let limits: TransportLimits
    let sockets: OpenSockets
    let metrics: ChatMetrics

    init(
        messageBytes: Int, limits: TransportLimits, sockets: OpenSockets,
        metrics: ChatMetrics = ChatMetrics()
    ) {
        self.messageBytes = messageBytes
        self.limits = limits
        self.sockets = sockets
        self.metrics = metrics
    }
}
