import NIOCore
import ShardRouter

/// One room of a socket that carries many: every frame that is sent through it names the room.
///
/// What all of a room are sent is put into that form once, and shared by all such sockets.
final class RoomSocket: SessionSocket {
    let socket: any SessionSocket
    let room: RoomID
    private let tag: RoomTag
    private let ended: @Sendable (RoomSocket, Farewell) -> Void

    /// - Parameter ended: called on the event loop when the server ends the conversation.
    init(
        _ socket: any SessionSocket, room: RoomID,
        ended: @escaping @Sendable (RoomSocket, Farewell) -> Void
    ) {
        self.socket = socket
        self.room = room
        self.ended = ended
        tag = RoomTag(room)
    }

    var eventLoop: any EventLoop { socket.eventLoop }

    var pendingBytes: Int { socket.pendingBytes }

    var roundTrip: Duration? { socket.roundTrip }

    func measureRoundTrip() { socket.measureRoundTrip() }

    var namesRoom: Bool { true }

    func send(_ text: ByteBuffer) {
        socket.send(tag.tagged(text))
    }

    func write(_ text: ByteBuffer) {
        socket.write(tag.tagged(text))
    }

    func write(_ frames: SharedFrames, flushing: Bool) {
        socket.write(frames.changed { tag.tagged($0) }, flushing: flushing)
    }

    func flush() {
        socket.flush()
    }

    func reserve(bytes: Int) {
        socket.reserve(bytes: bytes)
    }

    func end(_ farewell: Farewell) {
        ended(self, farewell)
    }

    func close(code: UInt16, reason: String) {
        socket.close(code: code, reason: reason)
    }
}

/// Writes the name of a room into frames that are encoded already.
struct RoomTag: Sendable {
    private let start: ByteBuffer

    /// - Parameter room: from ``RoomName``, whose characters need no escape.
    init(_ room: RoomID) {
        start = ByteBuffer(string: "{\"room\":\"\(room.text)\",")
    }

    /// - Parameter frame: a JSON object with at least one member.
    func tagged(_ frame: ByteBuffer) -> ByteBuffer {
        precondition(frame.readableBytesView.first == UInt8(ascii: "{"), "a frame is an object")
        var tagged = ByteBufferAllocator().buffer(
            capacity: start.readableBytes + frame.readableBytes)
        tagged.writeImmutableBuffer(start)
        tagged.writeBytes(frame.readableBytesView.dropFirst())
        return tagged
    }
}
