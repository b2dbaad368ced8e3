import NIOCore

/// What a session may do to its socket. Callable from any thread; nothing waits; calls take effect
/// in the order they were made from one thread.
protocol SessionSocket: AnyObject, Sendable {
    /// The loop that the socket lives on; fan-out groups its sockets by it.
    var eventLoop: any EventLoop { get }

    /// Writes one text frame. `text` is complete JSON, encoded once and shared by all readers.
    /// May be called in an order with other frames only from one place at a time.
    func send(_ text: ByteBuffer)

    /// Writes one text frame as ``send(_:)`` does, but may wait for ``flush()``. On the event loop.
    func write(_ text: ByteBuffer)

    /// Writes frames that other sockets are sent, too. On the event loop.
    ///
    /// - Parameter flushing: whether to hand them over at once; else they may wait for ``flush()``.
    func write(_ frames: SharedFrames, flushing: Bool)

    /// Hands over what was written. On the event loop.
    func flush()

    /// Sends a close frame with `code` and ends the connection. Idempotent; the first code wins.
    func close(code: UInt16, reason: String)

    /// Ends the conversation: says why, and closes. On the event loop.
    func end(_ farewell: Farewell)

    /// Whether the socket names the room in every frame, because it carries many.
    var namesRoom: Bool { get }

    /// Bytes handed over that the kernel has not taken yet, those that wait for a round included.
    var pendingBytes: Int { get }

    /// Counts bytes among the pending ones that will be written soon; negative when they are.
    func reserve(bytes: Int)

    /// Round trip, measured by WebSocket pings: smoothed, but no less than the last one, or than an
    /// unanswered one takes by now. Nil before the first pong.
    var roundTrip: Duration? { get }

    /// Has the round trip measured soon: it matters now. On the event loop.
    func measureRoundTrip()
}

extension SessionSocket {
    func end(_ farewell: Farewell) {
        send(farewell.bye)
        close(code: farewell.code.rawValue, reason: farewell.reason)
    }

    var namesRoom: Bool { false }

    func write(_ text: ByteBuffer) { send(text) }

    func write(_ frames: SharedFrames, flushing: Bool) {
        for text in frames.texts { write(text) }
        if flushing { flush() }
    }

    func flush() {}

    func reserve(bytes: Int) {}

    func measureRoundTrip() {}

    /// Who is at the other end, proxies not counted; nil when it is not known.
    var clientAddress: String? {
        if let room = self as? RoomSocket { return room.socket.clientAddress }
        return (self as? WebSocketConnection)?.address?.description
    }
}

/// How the server ends a conversation.
struct Farewell: Sendable {
    var code: CloseCode
    /// For people, and for the close frame: at most 123 bytes.
    var reason: String
    /// The last frame.
    var bye: ByteBuffer
    /// Whether only the room is over where the socket has many.
    var isOfRoom = false
}

/// What a socket tells its session; always called on the socket's event loop, in order.
protocol SocketSession: AnyObject, Sendable {
    func opened(_ socket: any SessionSocket)
    /// One whole text message, valid UTF-8, within the frame limit.
    func received(_ text: ByteBuffer)
    /// The connection is gone. `code` is the peer's close code, nil when there was none.
    func closed(code: UInt16?)
}
