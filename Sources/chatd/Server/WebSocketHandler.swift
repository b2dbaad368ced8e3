import NIOCore
import NIOWebSocket

/// The last handler of a socket: lets the rules judge each frame, and does what they say.
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    /// Makes the frame that goes before a close for `reason`.
    typealias Farewell = @Sendable (_ code: CloseCode, _ reason: String) -> ByteBuffer

    private let session: any SocketSession
    private let limits: TransportLimits
    private let sockets: OpenSockets
    private let metrics: ChatMetrics
    private let address: NetworkAddress?
    private let bye: Farewell?
    private var machine: WebSocketStateMachine
    private var connection: WebSocketConnection?
    private var pings: PingClock
    private var controlFrames: TokenBucket

    /// - Parameters:
    ///   - messageBytes: the largest message, fragments together.
    ///   - address: of the client, as far as it is known.
    ///   - bye: for closes that no session decides; nil: nothing goes before them.
    init(
        session: any SocketSession, messageBytes: Int, limits: TransportLimits,
        sockets: OpenSockets, metrics: ChatMetrics = ChatMetrics(), address: NetworkAddress? = nil,
        bye: Farewell? = nil
    ) {
        self.address = address
        self.bye = bye
        self.session = session
        self.limits = limits
        self.sockets = sockets
        self.metrics = metrics
        machine = WebSocketStateMachine(messageBytes: messageBytes, fragments: limits.fragments)
        pings = PingClock(interval: TimeAmount(limits.pingInterval))
        controlFrames = TokenBucket(perSecond: limits.controlFramesPerSecond)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        // An upgrade may come too late: then nobody would tell the session of the end.
        guard context.channel.isActive else { return }
        let connection = WebSocketConnection(
            channel: context.channel, limits: limits, bytesSent: metrics.bytesSent,
            address: address)
        self.connection = connection
        sockets.opened()
        session.opened(connection)
        ping(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let connection {
            self.connection = nil
            let code = connection.lost()
            session.closed(code: machine.peerCode)
            sockets.closed()
            metrics.closed(code ?? machine.peerCode)
        }
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch machine.received(unwrapInboundIn(data)) {
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
        switch error {
        case let failure as WebSocketFrameReader.Failure:
            machine.failed()
            connection?.closeUnreadable(code: failure.code.rawValue, reason: failure.reason)
        case is ByteToMessageDecoderError:
            break  // More of what could not be read; the close is on its way.
        default:
            context.close(promise: nil)
        }
    }

    /// Whether so many pings and pongs are allowed; closes the socket when they are not.
    private func isWithinRate() -> Bool {
        guard controlFrames.take(at: .now) != nil else { return true }
        machine.failed()
        let reason = "too many pings and pongs"
        if let bye { connection?.send(bye(.tooMany, reason)) }
        connection?.close(code: CloseCode.tooMany.rawValue, reason: reason)
        return false
    }

    private func ping(_ context: ChannelHandlerContext) {
        guard let connection, let payload = pings.next(at: context.eventLoop.now) else { return }
        connection.ping(payload)
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
    mutating func next(at now: NIODeadline) -> ByteBuffer? {
        if let sentAt, now - sentAt < interval { return nil }
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
