import HTTPTypes
import NIOCore
import NIOHTTP1

/// Stands before everything that handles requests: cuts clients that take too long for one, or for
/// reading its answer, and answers what is no HTTP/1.1, or names no host (RFC 9112, 3.2).
final class RequestGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let limits: TransportLimits
    private var timer: Scheduled<Void>?
    private var answerTimer: Scheduled<Void>?
    private var bodyBytes = 0
    /// Requests whose answer has not been written to its end.
    private var unanswered = 0
    /// Requests whose answer the kernel has not taken to its end.
    private var unread = 0
    private var isAnswering = false
    private var isDone = false
    /// Whether a request has begun to arrive and is not whole.
    private var isReading = false

    init(limits: TransportLimits) {
        self.limits = limits
    }

    func handlerAdded(context: ChannelHandlerContext) {
        cut(context, after: limits.headPatience)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
        answerTimer?.cancel()
        answerTimer = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Refused, and on its way out.
        guard !isDone else { return }
        var data = data
        switch unwrapInboundIn(data) {
        case .head(var head):
            if let fault = Self.hostFault(head) {
                refuse(context, HTTPRefusal(.badRequest, code: "badRequest", fault))
                return
            }
            if Self.clean(&head) { data = wrapInboundOut(.head(head)) }
            unanswered += 1
            unread += 1
            if unread == 1 { awaitAnswer(context) }
            isReading = true
            bodyBytes = 0
            cut(context, after: limits.bodyPatience)
        case .body(let part):
            bodyBytes += part.readableBytes
            if bodyBytes > limits.bodyBytesAtMost { context.close(promise: nil) }
        case .end:
            isReading = false
            timer?.cancel()
            timer = nil
        }
        context.fireChannelRead(data)
    }

    /// What is wrong with the host that a request names. It may be empty.
    private static func hostFault(_ head: HTTPRequestHead) -> String? {
        switch head.headers["Host"].count {
        case 1: nil
        case 0: isOld(head) ? nil : "Host: is missing"
        default: "Host: must be there once"
        }
    }

    /// Says in one way what can be said in several.
    ///
    /// - Returns: whether anything was changed.
    private static func clean(_ head: inout HTTPRequestHead) -> Bool {
        var isChanged = false
        // An upgrade that nobody here knows may be ignored (RFC 9110, 7.8).
        let upgrades = head.headers[canonicalForm: "Upgrade"].map { $0.lowercased() }
        let isForSocket = upgrades.contains("websocket")
        if !upgrades.isEmpty, !isForSocket {
            head.headers.remove(name: "Upgrade")
            isChanged = true
        }
        // The persistence of HTTP/1.0 is not offered (RFC 9112, 9.3). Only `close`, written like
        // this, ends a connection below.
        let options = head.headers[canonicalForm: "Connection"].map { $0.lowercased() }
        if !isForSocket, isOld(head) || options.contains("close") {
            head.headers.replaceOrAdd(name: "Connection", value: "close")
            isChanged = true
        }
        return isChanged
    }

    /// Whether a request is of a time before HTTP/1.1.
    private static func isOld(_ head: HTTPRequestHead) -> Bool {
        (head.version.major, head.version.minor) < (1, 1)
    }

    /// A server that stops waits for the answers that are under way, not for requests that have
    /// not come.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent, unanswered == 0 || isReading {
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            isAnswering = head.status.code >= 200
        case .body:
            break
        case .end:
            isAnswering = false
            unanswered -= 1
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            written.futureResult.assumeIsolated().whenComplete { _ in self.isRead(context) }
            context.write(data, promise: written)
            return
        }
        context.write(data, promise: promise)
    }

    /// An answer has left: the next one has the whole time again.
    private func isRead(_ context: ChannelHandlerContext) {
        unread -= 1
        answerTimer?.cancel()
        answerTimer = nil
        if unread > 0, context.channel.isActive { awaitAnswer(context) }
    }

    private func awaitAnswer(_ context: ChannelHandlerContext) {
        let patience = TimeAmount(limits.answerPatience)
        answerTimer = context.eventLoop.assumeIsolated().scheduleTask(in: patience) {
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case let error as HTTPParserError:
            refuse(context, refusal(of: error))
        case is ByteToMessageDecoderError where isDone:
            break  // More of what could not be read.
        default:
            context.fireErrorCaught(error)
        }
    }

    /// What the sender of something that is no HTTP is told; nil when he is gone.
    private func refusal(of error: HTTPParserError) -> HTTPRefusal? {
        switch error {
        case .invalidEOFState:
            nil
        case .headerOverflow:
            HTTPRefusal(
                .requestHeaderFieldsTooLarge, code: "badRequest",
                "more than \(limits.headerFields) header fields or \(limits.headerBytes) bytes")
        default:
            HTTPRefusal(.badRequest, code: "badRequest", "this is not HTTP")
        }
    }

    /// Answers, unless there is nobody to answer or another answer is under way, and ends the
    /// connection.
    private func refuse(_ context: ChannelHandlerContext, _ refusal: HTTPRefusal?) {
        guard !isDone else { return }
        isDone = true
        guard let refusal, unanswered == 0, !isAnswering else {
            context.close(promise: nil)
            return
        }
        for part in refusal.parts { context.write(wrapOutboundOut(part), promise: nil) }
        context.flush()
        // Not cut at once: a reset would overtake the answer while the client still sends.
        context.close(mode: .output, promise: nil)
        cut(context, after: limits.closePatience)
    }

    private func cut(_ context: ChannelHandlerContext, after patience: Duration) {
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(patience)) {
            context.close(promise: nil)
        }
    }
}

@available(*, unavailable)
extension RequestGuard: Sendable {}
