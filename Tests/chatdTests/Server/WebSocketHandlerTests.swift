import NIOCore
import NIOEmbedded
import NIOWebSocket
import Synchronization
import Testing

@testable import chatd

/// The handler on bytes: what a client sends, and what comes back.
@Suite struct WebSocketHandlerTests {
    @Test func `what is sent in one turn leaves in one write, in order`() throws {
        let socket = try OpenedSocket()

        socket.session.socket?.send(ByteBuffer(string: "a"))
        socket.session.socket?.send(ByteBuffer(string: "b"))
        #expect(socket.session.socket?.pendingBytes == 6)
        let writes = socket.turn()

        #expect(writes == [[0x81, 1, 97, 0x81, 1, 98]])
        #expect(socket.session.socket?.pendingBytes == 0)
    }

    @Test(arguments: [
        (125, [0x81, 125]), (126, [0x81, 126, 0, 126]),
        (65_536, [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ])
    func `headers tell the length`(bytes: Int, header: [UInt8]) throws {
        let socket = try OpenedSocket()

        socket.session.socket?.send(ByteBuffer(repeating: 97, count: bytes))
        let written = Array(socket.turn().joined())

        #expect(Array(written.prefix(header.count)) == header)
        #expect(written.count == header.count + bytes)
    }

    @Test func `bytes count as pending until a channel that is full has written them`() throws {
        let socket = try OpenedSocket()
        let gate = try socket.shut()

        socket.session.socket?.send(ByteBuffer(string: "hello"))
        _ = socket.turn()
        #expect(socket.session.socket?.pendingBytes == 7)
        socket.session.socket?.write(SharedFrames([ByteBuffer(string: "you")]), flushing: true)
        #expect(socket.session.socket?.pendingBytes == 12)
        gate.open()

        #expect(
            socket.turn() == [[0x81, 5] + Array("hello".utf8), [0x81, 3] + Array("you".utf8)])
        #expect(socket.session.socket?.pendingBytes == 0)
    }

    @Test func `frames that are shared keep their place among the socket's own`() throws {
        let socket = try OpenedSocket()
        let shared = SharedFrames([ByteBuffer(string: "b"), ByteBuffer(string: "c")])

        socket.session.socket?.write(shared, flushing: false)
        socket.session.socket?.write(ByteBuffer(string: "d"))
        socket.session.socket?.write(shared, flushing: false)
        socket.session.socket?.send(ByteBuffer(string: "e"))
        socket.session.socket?.flush()

        let texts = [98, 99, 100, 98, 99, 101] as [UInt8]
        #expect(Array(socket.turn().joined()) == texts.flatMap { [0x81, 1, $0] })
        #expect(socket.session.socket?.pendingBytes == 0)
    }

    @Test func `much that is shared is flushed before anybody says so`() throws {
        let socket = try OpenedSocket()
        let shared = SharedFrames([ByteBuffer(repeating: 97, count: 30_000)])

        for _ in 1...2 { socket.session.socket?.write(shared, flushing: false) }
        #expect(socket.turn().isEmpty)
        socket.session.socket?.write(shared, flushing: false)

        #expect(socket.turn().count == 3)
    }

    @Test func `nothing is written after the close, shared or not`() throws {
        let socket = try OpenedSocket()

        socket.session.socket?.write(SharedFrames([ByteBuffer(string: "a")]), flushing: false)
        socket.session.socket?.close(code: 1001, reason: "")
        socket.session.socket?.write(SharedFrames([ByteBuffer(string: "b")]), flushing: true)

        #expect(Array(socket.turn().joined()) == [0x81, 1, 97] + socket.close(1001, ""))
    }

    @Test func `an unmasked frame is closed with 1002`() throws {
        let socket = try OpenedSocket()

        try socket.receive([0x81, 1, 97])

        #expect(socket.turn() == [socket.close(1002, "a client's frames must be masked")])
        #expect(socket.session.texts.isEmpty)
    }

    @Test func `an announced length over the limit is closed with 1009 before the payload`() throws
    {
        let socket = try OpenedSocket()

        try? socket.receive([0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4])

        #expect(socket.turn() == [socket.close(1009, "a frame is too large")])
    }

    @Test func `a length beyond all numbers is closed with 1009`() throws {
        let socket = try OpenedSocket()

        try? socket.receive([0x81, 0xFF, 0x7F] + [UInt8](repeating: 0xFF, count: 7))

        #expect(socket.turn() == [socket.close(1009, "a frame is too large")])
    }

    @Test(
        arguments: [[0x09, 0x81], [0x89, 0xFE, 0, 126], [0x08, 0x80], [0x0B, 0x80]] as [[UInt8]])
    func `control frames in fragments or over 125 bytes are closed with 1002`(
        header: [UInt8]
    ) throws {
        let socket = try OpenedSocket()

        try? socket.receive(header + [1, 2, 3, 4, 5])

        let written = Array(socket.turn().joined())
        #expect(written.first == 0x88)
        #expect(Array(written[2...3]) == [0x03, 0xEA])
    }

    @Test func `what comes after the decoder gave up is ignored`() throws {
        let socket = try OpenedSocket()
        try? socket.receive([0x81, 0xFF] + [UInt8](repeating: 0xFF, count: 8))
        _ = socket.turn()

        try? socket.receive(socket.frame(.text, "hello"))

        #expect(socket.turn().isEmpty)
        #expect(socket.session.texts.isEmpty)
    }

    @Test func `a byte at a time gives the same text`() throws {
        let socket = try OpenedSocket()

        for byte in socket.frame(.text, "hello €") { try socket.receive([byte]) }

        #expect(socket.session.texts == ["hello €"])
    }

    @Test func `a ping is answered with its payload`() throws {
        let socket = try OpenedSocket()

        try socket.receive(socket.frame(.ping, "abc"))

        #expect(socket.turn() == [[0x8A, 3, 97, 98, 99]])
    }

    @Test(arguments: [WebSocketOpcode.ping, .pong])
    func `more control frames than anybody needs are closed with 4429`(
        opcode: WebSocketOpcode
    ) throws {
        let socket = try OpenedSocket()

        for _ in 0..<100 { try socket.receive(socket.frame(opcode, "")) }
        _ = socket.turn()
        for _ in 0..<200 { try socket.receive(socket.frame(opcode, "")) }
        try socket.receive(socket.frame(.text, "hello"))

        let written = Array(socket.turn().joined())
        let end =
            [0x81, 3] + Array("bye".utf8) + socket.close(4429, "too many pings and pongs")
        #expect(Array(written.suffix(end.count)) == end)
        #expect(socket.session.texts.isEmpty)
    }

    @Test func `of many pings only the last is answered`() throws {
        let socket = try OpenedSocket()

        for text in ["a", "b", "c"] { try socket.receive(socket.frame(.ping, text)) }

        #expect(socket.turn() == [[0x8A, 1, 99]])
    }

    @Test func `pings of a client that does not read are not answered`() throws {
        let socket = try OpenedSocket()
        _ = try socket.shut()
        socket.session.socket?.send(ByteBuffer(repeating: 97, count: 100_000))
        _ = socket.turn()
        let pending = socket.session.socket?.pendingBytes

        try socket.receive(socket.frame(.ping, "a"))

        #expect(socket.session.socket?.pendingBytes == pending)
    }

    @Test func `a client's close is repeated, then the output closed`() throws {
        let socket = try OpenedSocket()

        try socket.receive(socket.frame(.connectionClose, [0x0F, 0xA1]))
        let written = socket.turn()

        #expect(written == [[0x88, 2, 0x0F, 0xA1]])
        #expect(!socket.channel.isActive)
        #expect(socket.session.closes == [4001])
    }

    @Test func `our close waits for the client's`() throws {
        let socket = try OpenedSocket()

        socket.session.socket?.close(code: 4003, reason: "no heartbeat")
        #expect(socket.turn() == [socket.close(4003, "no heartbeat")])
        #expect(socket.channel.isActive)
        try socket.receive(socket.frame(.connectionClose, [0x0F, 0xA3]))
        #expect(socket.turn().isEmpty)

        #expect(!socket.channel.isActive)
        #expect(socket.session.closes == [4003])
    }

    @Test func `a client that does not answer our close is cut`() throws {
        let socket = try OpenedSocket()
        socket.session.socket?.close(code: 4003, reason: "")
        _ = socket.turn()

        socket.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1_999))
        #expect(socket.channel.isActive)
        socket.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))

        #expect(!socket.channel.isActive)
        #expect(socket.session.closes == [nil])
    }

    @Test func `the first close wins, and nothing is sent after it`() throws {
        let socket = try OpenedSocket()

        socket.session.socket?.close(code: 4002, reason: "")
        socket.session.socket?.close(code: 4003, reason: "")
        socket.session.socket?.send(ByteBuffer(string: "late"))

        #expect(socket.turn() == [socket.close(4002, "")])
        #expect(socket.turn().isEmpty)
    }

    @Test func `what was sent before the close arrives before it`() throws {
        let socket = try OpenedSocket()

        socket.session.socket?.send(ByteBuffer(string: "a"))
        socket.session.socket?.close(code: 1001, reason: "")

        #expect(socket.turn() == [[0x81, 1, 97] + socket.close(1001, "")])
    }

    @Test func `a long reason is cut between characters`() throws {
        let socket = try OpenedSocket()

        socket.session.socket?.close(code: 1001, reason: String(repeating: "€", count: 100))

        let written = Array(socket.turn().joined())
        #expect(written[1] == 2 + 41 * 3)
        #expect(String(validating: written[4...], as: UTF8.self) != nil)
    }

    @Test func `a connection that dies tells the session once`() throws {
        let socket = try OpenedSocket()

        try socket.channel.close().wait()
        socket.session.socket?.send(ByteBuffer(string: "late"))
        _ = socket.turn()

        #expect(socket.session.closes == [nil])
        #expect(socket.session.socket?.pendingBytes == 0)
        #expect(socket.sockets.count == 0)
    }

    @Test func `a client that sends no more is let go`() throws {
        let socket = try OpenedSocket()

        socket.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        _ = socket.turn()

        #expect(socket.session.closes == [nil])
    }

    @Test func `pings measure the way, smoothed`() throws {
        let socket = try OpenedSocket()
        #expect(socket.session.socket?.roundTrip == nil)

        socket.channel.embeddedEventLoop.advanceTime(by: .milliseconds(80))
        try socket.receive(socket.frame(.pong, [0, 0, 0, 0, 0, 0, 0, 1]))
        #expect(socket.session.socket?.roundTrip == .milliseconds(80))
        socket.channel.embeddedEventLoop.advanceTime(by: .seconds(30))
        try socket.receive(socket.frame(.text, "beat"))
        #expect(socket.turn() == [[0x89, 8, 0, 0, 0, 0, 0, 0, 0, 2]])
        try socket.receive(socket.frame(.pong, [0, 0, 0, 0, 0, 0, 0, 2]))

        // The first took 80 ms, the second none.
        #expect(socket.session.socket?.roundTrip == .milliseconds(70))
    }

    @Test func `a way that has become longer is believed at once`() throws {
        let socket = try OpenedSocket()
        let connection = try #require(socket.session.socket)
        let loop = socket.channel.embeddedEventLoop
        try socket.receive(socket.frame(.pong, [0, 0, 0, 0, 0, 0, 0, 1]))

        connection.measureRoundTrip()
        try socket.receive(socket.frame(.text, "beat"))
        #expect(socket.turn() == [[0x89, 8, 0, 0, 0, 0, 0, 0, 0, 2]])
        loop.advanceTime(by: .milliseconds(700))
        #expect(connection.roundTrip == .milliseconds(700), "not answered yet")
        connection.measureRoundTrip()
        try socket.receive(socket.frame(.text, "beat"))
        #expect(socket.turn() == [], "one ping at a time")
        loop.advanceTime(by: .milliseconds(100))
        try socket.receive(socket.frame(.pong, [0, 0, 0, 0, 0, 0, 0, 2]))

        loop.advanceTime(by: .seconds(5))
        #expect(connection.roundTrip == .milliseconds(800))
    }
}

/// A socket in memory that was opened and has sent its first ping.
private struct OpenedSocket {
    let channel = EmbeddedChannel()
    let session = RecordingSession()
    let sockets = OpenSockets()

    init() throws {
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(
            WebSocketHandler(
                session: session,
                environment: SocketEnvironment(
                    messageBytes: 65_536, limits: TransportLimits(), sockets: sockets,
                    bye: { _, _ in ByteBuffer(string: "bye") })))
        #expect(turn() == [[0x89, 8, 0, 0, 0, 0, 0, 0, 0, 1]])
        #expect(sockets.count == 1)
    }

    /// Lets the loop turn once, and returns what was written.
    func turn() -> [[UInt8]] {
        channel.embeddedEventLoop.run()
        var writes: [[UInt8]] = []
        while let write = try? channel.readOutbound(as: ByteBuffer.self) {
            if write.readableBytes > 0 { writes.append(Array(write.readableBytesView)) }
        }
        return writes
    }

    /// Writes nothing any more until the gate is opened.
    func shut() throws -> FlushGate {
        let gate = FlushGate()
        try channel.pipeline.syncOperations.addHandler(gate, position: .first)
        channel.isWritable = false
        return gate
    }

    func receive(_ bytes: [UInt8]) throws {
        try channel.writeInbound(ByteBuffer(bytes: bytes))
    }

    func frame(_ opcode: WebSocketOpcode, _ text: String) -> [UInt8] {
        frame(opcode, Array(text.utf8))
    }

    func frame(_ opcode: WebSocketOpcode, _ payload: [UInt8]) -> [UInt8] {
        RawFrame.masked(opcode, payload)
    }

    func close(_ code: UInt16, _ reason: String) -> [UInt8] {
        [0x88, UInt8(2 + reason.utf8.count), UInt8(code >> 8), UInt8(code & 0xFF)]
            + Array(reason.utf8)
    }
}

/// Keeps what a socket tells.
private final class RecordingSession: SocketSession {
    private struct State {
        var socket: (any SessionSocket)?
        var texts: [String] = []
        var closes: [UInt16?] = []
    }

    private let state = Mutex(State())

    var socket: (any SessionSocket)? { state.withLock { $0.socket } }
    var texts: [String] { state.withLock { $0.texts } }
    var closes: [UInt16?] { state.withLock { $0.closes } }

    func opened(_ socket: any SessionSocket) { state.withLock { $0.socket = socket } }
    func received(_ text: ByteBuffer) { state.withLock { $0.texts.append(String(buffer: text)) } }
    func closed(code: UInt16?) { state.withLock { $0.closes.append(code) } }
}

/// Holds back what a channel flushes, as a client that does not read does.
private final class FlushGate: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    private var isShut = true
    private var context: ChannelHandlerContext?

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func flush(context: ChannelHandlerContext) {
        if !isShut { context.flush() }
    }

    func open() {
        isShut = false
        context?.flush()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }
}
