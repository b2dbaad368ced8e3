import NIOCore
import NIOEmbedded
import Synchronization

@testable import chatd

/// A WebSocket in memory whose session does what the test says.
struct EmbeddedSocket {
    private final class Session: SocketSession {
        let socket = Mutex<(any SessionSocket)?>(nil)

        func opened(_ socket: any SessionSocket) { self.socket.withLock { $0 = socket } }
        func received(_ text: ByteBuffer) {}
        func closed(code: UInt16?) {}
    }

    private let channel = EmbeddedChannel()
    private let session = Session()
    private let metrics: ChatMetrics

    init(metrics: ChatMetrics) {
        self.metrics = metrics
    }

    /// Connects, and sends the first ping.
    func open() throws {
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(
            WebSocketHandler(
                session: session,
                environment: SocketEnvironment(
                    messageBytes: 1_024, limits: TransportLimits(), sockets: OpenSockets(),
                    metrics: metrics)))
        channel.embeddedEventLoop.run()
    }

    /// Sends a text, closes with `code`, and loses the connection.
    func sendAndClose(_ text: String, code: UInt16) throws {
        let socket = session.socket.withLock { $0 }
        socket?.send(ByteBuffer(string: text))
        socket?.close(code: code, reason: "")
        channel.embeddedEventLoop.run()
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
