import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket

/// One connection to one server. All its calls, in and out, are on its event loop.
struct ChatSocket: Sendable {
    /// Where to, and what is asked for there.
    struct Request: Sendable {
        var address: ChatAddress
        var path: String
        var token: ChatToken?
    }

    /// What a connection reports.
    struct Listener: Sendable {
        /// There is a line; nothing was said on it yet. False: it is not wanted any more.
        var connected: @Sendable (any Channel) -> Bool
        var received: @Sendable (String) -> Void
        /// Once, after the connection was opened.
        var closed: @Sendable (ChatClientState.Ending) -> Void
    }

    /// A server answered, and opened nothing.
    struct Refusal: Error {
        var ending: ChatClientState.Ending
    }

    private enum Answer: Sendable {
        case open
        case refused(EventLoopFuture<HTTPResponseHead>)
    }

    private let channel: any Channel

    /// - Returns: the open connection. Fails with ``Refusal`` when the server does not want it, and
    ///   with NIO's errors when there is no way to it.
    static func connect(
        _ request: Request, tls: NIOSSLContext?, limits: ClientLimits, on loop: any EventLoop,
        _ listener: Listener
    ) -> EventLoopFuture<ChatSocket> {
        let head = head(of: request)
        return ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(limits.connectPatience))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .connect(host: request.address.host, port: request.address.port)
            .flatMap { channel in
                let answer = loop.makeCompletedFuture {
                    guard listener.connected(channel) else { throw CancellationError() }
                    return try prepare(channel, request.address, tls, head, limits, listener)
                }
                let socket = answer.flatMap(\.self).flatMap { answer in
                    settle(answer, ChatSocket(channel: channel), on: loop)
                }
                socket.whenFailure { _ in channel.close(promise: nil) }
                return socket
            }
    }

    func send(_ text: String) {
        write(.text, channel.allocator.buffer(string: text))
        channel.flush()
    }

    /// Says goodbye, and cuts the line when the server does not.
    func close(code: UInt16, patience: Duration) {
        var data = channel.allocator.buffer(capacity: 2)
        data.writeInteger(code)
        write(.connectionClose, data)
        channel.flush()
        let cut = channel.eventLoop.scheduleTask(in: TimeAmount(patience)) { [channel] in
            channel.close(promise: nil)
        }
        channel.closeFuture.whenComplete { _ in cut.cancel() }
    }

    private func write(_ opcode: WebSocketOpcode, _ data: ByteBuffer) {
        channel.write(
            WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data),
            promise: nil)
    }

    private static func head(of request: Request) -> HTTPRequestHead {
        var headers: HTTPHeaders = [
            "Host": request.address.authority, "Sec-WebSocket-Protocol": "chat.v1",
        ]
        if let token = request.token {
            headers.add(name: "Authorization", value: "Bearer \(token.text)")
        }
        return HTTPRequestHead(
            version: .http1_1, method: .GET, uri: request.path, headers: headers)
    }

    private static func prepare(
        _ channel: any Channel, _ address: ChatAddress, _ tls: NIOSSLContext?,
        _ head: HTTPRequestHead, _ limits: ClientLimits, _ listener: Listener
    ) throws -> EventLoopFuture<Answer> {
        let pipeline = channel.pipeline.syncOperations
        if address.isSecure, let tls {
            try pipeline.addHandler(
                NIOSSLClientHandler(
                    context: tls, serverHostname: address.isNumeric ? nil : address.host))
        }
        let upgrader = NIOTypedWebSocketClientUpgrader<Answer>(
            maxFrameSize: limits.frameBytes,
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(
                        NIOWebSocketFrameAggregator(
                            minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 1_024,
                            maxAccumulatedFrameSize: limits.frameBytes))
                    let handler = SocketHandler(listener)
                    try pipeline.addHandler(handler)
                    // The line may be dead before the handler could hear of it.
                    let bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
                    channel.closeFuture.whenComplete { _ in listener.closed(bound.value.ending) }
                    return .open
                }
            })
        let configuration = NIOTypedHTTPClientUpgradeConfiguration<Answer>(
            upgradeRequestHead: head, upgraders: [upgrader],
            notUpgradingCompletionHandler: { channel in
                channel.eventLoop.makeCompletedFuture {
                    let head = channel.eventLoop.makePromise(of: HTTPResponseHead.self)
                    try channel.pipeline.syncOperations.addHandler(RefusalHandler(head))
                    return .refused(head.futureResult)
                }
            })
        var setup = NIOUpgradableHTTPClientPipelineConfiguration(
            upgradeConfiguration: configuration)
        // `hello` may come in one piece with the answer; it would be dropped.
        setup.leftOverBytesStrategy = .forwardBytes
        return try pipeline.configureUpgradableHTTPClientPipeline(configuration: setup)
    }

    private static func settle(
        _ answer: Answer, _ socket: ChatSocket, on loop: any EventLoop
    ) -> EventLoopFuture<ChatSocket> {
        switch answer {
        case .open: loop.makeSucceededFuture(socket)
        case .refused(let head):
            head.flatMapThrowing { head in throw Refusal(ending: ending(head)) }
        }
    }

    /// What an HTTP status means, in the words of close codes.
    private static func ending(_ head: HTTPResponseHead) -> ChatClientState.Ending {
        let seconds = head.headers.first(name: "Retry-After").flatMap { Int64($0) }
        let code: UInt16?
        switch head.status.code {
        case 400: code = 1002
        case 401: code = 4401
        case 403: code = 4403
        case _: code = nil
        }
        return ChatClientState.Ending(
            code: code, reason: "HTTP \(head.status.code)",
            retryAfter: seconds.map { .seconds($0) })
    }
}

/// Turns frames of WebSocket into calls, and answers what the protocol below answers itself.
private final class SocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let listener: ChatSocket.Listener
    /// How the server has ended the connection, if it said so.
    private(set) var ending = ChatClientState.Ending()

    init(_ listener: ChatSocket.Listener) { self.listener = listener }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = Self.unwrapInboundIn(data)
        switch frame.opcode {
        case .text: listener.received(String(buffer: frame.unmaskedData))
        case .ping: answer(.pong, frame.unmaskedData, context)
        case .connectionClose: closed(frame.unmaskedData, context)
        case _: break  // Nothing that servers of this protocol say.
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Whatever it was: the connection is lost, and coming back repairs that.
        context.close(promise: nil)
    }

    private func closed(_ payload: ByteBuffer, _ context: ChannelHandlerContext) {
        var payload = payload
        ending.code = payload.readInteger()
        ending.reason = String(buffer: payload)
        var data = context.channel.allocator.buffer(capacity: 2)
        if let code = ending.code { data.writeInteger(code) }
        answer(.connectionClose, data, context)
        context.close(promise: nil)
    }

    private func answer(
        _ opcode: WebSocketOpcode, _ data: ByteBuffer, _ context: ChannelHandlerContext
    ) {
        let frame = WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data)
        context.writeAndFlush(Self.wrapOutboundOut(frame), promise: nil)
    }
}

/// Reads the head of an answer that opens no socket.
private final class RefusalHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let head: EventLoopPromise<HTTPResponseHead>

    init(_ head: EventLoopPromise<HTTPResponseHead>) { self.head = head }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch Self.unwrapInboundIn(data) {
        case .head(let head): self.head.succeed(head)
        case .body, .end: break
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { head.fail(ChannelError.eof) }
}
