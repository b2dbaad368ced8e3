import Foundation
import NIOCore
import NIOPosix
import ShardRouter
import Synchronization

@testable import chatd

/// A frame that a client read, parsed by somebody else's parser.
struct ReadFrame: @unchecked Sendable {
    // Foundation's JSON objects are not changed after they were parsed.
    let fields: [String: Any]

    init(_ buffer: ByteBuffer) throws {
        let object = try JSONSerialization.jsonObject(with: Data(buffer.readableBytesView))
        guard let fields = object as? [String: Any] else { throw NotAnObject() }
        self.fields = fields
    }

    struct NotAnObject: Error {}

    private init(fields: [String: Any]) { self.fields = fields }

    var type: String { string("type") ?? "" }
    func string(_ name: String) -> String? { fields[name] as? String }
    func number(_ name: String) -> Int? { (fields[name] as? NSNumber)?.intValue }
    func flag(_ name: String) -> Bool? { (fields[name] as? NSNumber)?.boolValue }
    func strings(_ name: String) -> [String]? { fields[name] as? [String] }
    var messages: [ReadFrame] {
        (fields["messages"] as? [[String: Any]] ?? []).map(ReadFrame.init(fields:))
    }
}

/// A socket that keeps what it is sent.
final class FakeSocket: SessionSocket {
    private struct State {
        var frames: [ReadFrame] = []
        var pendingBytes = 0
        var roundTrip: Duration?
        var closeCode: UInt16?
    }

    let eventLoop: any EventLoop
    /// Every frame, and an end after the close.
    let arrivals: AsyncStream<ReadFrame>
    private let continuation: AsyncStream<ReadFrame>.Continuation
    private let state = Mutex(State())

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        (arrivals, continuation) = AsyncStream.makeStream()
    }

    func send(_ text: ByteBuffer) {
        precondition(eventLoop.inEventLoop, "frames go out on the socket's loop")
        guard let frame = try? ReadFrame(text) else {
            preconditionFailure("not JSON: \(String(buffer: text))")
        }
        state.withLock { $0.frames.append(frame) }
        continuation.yield(frame)
    }

    func close(code: UInt16, reason: String) {
        state.withLock { $0.closeCode = $0.closeCode ?? code }
        continuation.finish()
    }

    var pendingBytes: Int { state.withLock { $0.pendingBytes } }
    var roundTrip: Duration? { state.withLock { $0.roundTrip } }
    var frames: [ReadFrame] { state.withLock { $0.frames } }
    var closeCode: UInt16? { state.withLock { $0.closeCode } }

    func setPendingBytes(_ bytes: Int) { state.withLock { $0.pendingBytes = bytes } }
    func setRoundTrip(_ roundTrip: Duration?) { state.withLock { $0.roundTrip = roundTrip } }
}

/// A client of a server, without a network between.
final class FakeClient {
    struct SocketEnded: Error { var awaited: String }

    let socket: FakeSocket
    let session: any SocketSession
    private var arrivals: AsyncStream<ReadFrame>.Iterator

    /// - Parameters:
    ///   - room: nil for a socket with many rooms.
    ///   - loop: which of the machine's event loops the socket lives on.
    init(
        _ server: ChatServer, room: RoomID?, credentials: Credentials,
        loop: (any EventLoop)? = nil
    ) {
        socket = FakeSocket(
            eventLoop: loop ?? MultiThreadedEventLoopGroup.singleton.next())
        session = server.makeSession(room: room, credentials: credentials)
        arrivals = socket.arrivals.makeAsyncIterator()
    }

    /// Opens the socket and returns what it was sent: `hello` and everybody who is there.
    @discardableResult
    func join() async throws -> (hello: ReadFrame, presence: ReadFrame) {
        try await open()
        return (try await next("hello"), try await next("presence"))
    }

    /// Joins a room on a socket with many, and returns its `hello`.
    @discardableResult
    func join(_ room: RoomID) async throws -> ReadFrame {
        send(Sent.inRoom("{\"type\":\"join\"}", room))
        let hello = try await next("hello")
        _ = try await next("presence")
        return hello
    }

    func open() async throws {
        try await socket.eventLoop.submit { [session, socket] in session.opened(socket) }.get()
    }

    func send(_ json: String) {
        socket.eventLoop.execute { [session] in session.received(ByteBuffer(string: json)) }
    }

    func close(code: UInt16?) async throws {
        try await socket.eventLoop.submit { [session] in session.closed(code: code) }.get()
    }

    /// The next frame of this type; others before it are passed over.
    func next(_ type: String) async throws -> ReadFrame {
        while let frame = await arrivals.next(isolation: nil) {
            if frame.type == type { return frame }
        }
        throw SocketEnded(awaited: type)
    }

    /// Returns when everything that was on its way to the socket has arrived.
    func settle() async throws {
        try await socket.eventLoop.submit {}.get()
    }

    func frames(_ type: String) -> [ReadFrame] {
        socket.frames.filter { $0.type == type }
    }
}
