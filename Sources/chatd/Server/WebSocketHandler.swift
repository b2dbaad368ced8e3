import NIOCore
import NIOWebSocket

/// The one handler of a socket: cuts what arrives into frames, lets the rules judge each of them,
/// and does what they say.
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let session: any SocketSession
    private let environment: SocketEnvironment
    private let address: NetworkAddress?
    private var reader: WebSocketFrameReader
    /// The beginning of a frame; at most one frame and what came with it in one read.
    private var rest: ByteBuffer?
    /// Whether nothing that comes can be told apart any more.
    private var isUnreadable = false
    private var machine: WebSocketStateMachine
    private var connection: WebSocketConnection?
    private var pings: PingClock
    private var controlFrames: TokenBucket

    /// - Parameter address: of the client, as far as it is known.
    init(
        session: any SocketSession, environment: SocketEnvironment, address: NetworkAddress? = nil
    ) {
        self.address = address
        self.session = session
        self.environment = environment
        let limits = environment.limits
        reader = WebSocketFrameReader(payloadBytesAtMost: environment.messageBytes)
        machine = WebSocketStateMachine(
            messageBytes: environment.messageBytes, fragments: limits.fragments)
        pings = PingClock(interval: TimeAmount(limits.pingInterval))
        controlFrames = TokenBucket(perSecond: limits.controlFramesPerSecond)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        // An upgrade may come too late: then nobody would tell the session of the end.
        guard context.channel.isActive else { return }
        let connection = WebSocketConnection(
            channel: context.channel, environment: environment, address: address)
        self.connection = connection
        environment.sockets.opened()
        session.opened(connection)
        ping(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let connection {
            self.connection = nil
            rest = nil
            let code = connection.lost()
            session.closed(code: machine.peerCode)
            environment.sockets.closed()
            environment.metrics.closed(code ?? machine.peerCode)
        }
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isUnreadable else { return }
        var bytes = unwrapInboundIn(data)
        if var rest {
            self.rest = nil
            rest.writeBuffer(&bytes)
            bytes = rest
        }
        do throws(WebSocketFrameReader.Failure) {
            while connection != nil, let frame = try reader.next(in: &bytes) {
                received(frame, context)
            }
            if bytes.readableBytes > 0 {
                bytes.discardReadBytes()
                rest = bytes
            }
        } catch {
            isUnreadable = true
            machine.failed()
            connection?.closeUnreadable(code: error.code.rawValue, reason: error.reason)
        }
    }

    private func received(_ frame: WebSocketFrame, _ context: ChannelHandlerContext) {
        switch machine.received(frame) {
        case .deliver(let text):
            session.received(text)
            ping(context)
        case .pong(let payload):
            if isWithinRate() { connection?.pong(payload) }
        case .measure(let payload):
            if isWithinRate(), let sample = pings.returned(payload, at: context.eventLoop.now) {
                connection?.measured(sample)
            }
        case .finish(let code):
            connection?.finish(repeating: code)
        case .fail(let code, let reason):
            connection?.close(code: code.rawValue, reason: reason)
        case .nothing:
            break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed:
            // Whoever sends nothing more is gone, with a close frame or without.
            connection?.end()
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// Whether so many pings and pongs are allowed; closes the socket when they are not.
    private func isWithinRate() -> Bool {
        guard controlFrames.take(at: .now) != nil else { return true }
        machine.failed()
        let reason = "too many pings and pongs"
        if let bye = environment.bye { connection?.send(bye(.tooMany, reason)) }
        connection?.close(code: CloseCode.tooMany.rawValue, reason: reason)
        return false
    }

    private func ping(_ context: ChannelHandlerContext) {
        guard let connection else { return }
        let isWanted = connection.takesPing()
        if let payload = pings.next(at: context.eventLoop.now, isWanted: isWanted) {
            connection.ping(payload)
        }
    }
}

@available(*, unavailable)
extension WebSocketHandler: Sendable {}

/// Says when a ping is due, and how long one took. Pure.
///
/// A client's own frames are the tick: one that sends nothing is closed for that.
struct PingClock {
    private let interval: TimeAmount
    private var number: UInt64 = 0
    private var sentAt: NIODeadline?
    private var isReturned = false

    init(interval: TimeAmount) {
        self.interval = interval
    }

    /// The payload of the ping that is due; nil when none is.
    ///
    /// - Parameter isWanted: whether it is due as soon as the last one has come back.
    mutating func next(at now: NIODeadline, isWanted: Bool = false) -> ByteBuffer? {
        if let sentAt, now - sentAt < interval, !(isWanted && isReturned) { return nil }
        sentAt = now
        number += 1
        isReturned = false
        return ByteBuffer(integer: number)
    }

    /// How long the last ping took; nil when the pong is for none of ours, or came twice.
    mutating func returned(_ payload: ByteBuffer, at now: NIODeadline) -> TimeAmount? {
        guard let sentAt, !isReturned, payload == ByteBuffer(integer: number) else { return nil }
        isReturned = true
        return now - sentAt
    }
}
