import Crypto
import FoundationEssentials
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOWebSocket
import ShardRouter

/// Serves HTTP/1.1 by Hummingbird, and makes a connection whose first request asks for it a
/// WebSocket: from then on it lives in its channel handlers alone, without a task.
struct WebSocketUpgradeChannel: HTTPChannelHandler {
    /// What a connection becomes with its first request.
    enum Outcome: Sendable {
        case http(NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>)
        case webSocket
    }

    /// A connection that has not said yet what it wants.
    ///
    /// The first request is read only after the channel is set up, so the set-up cannot wait for
    /// the outcome.
    struct Value: ServerChildChannelValue {
        let channel: any Channel
        let outcome: EventLoopFuture<Outcome>
    }

    let responder: Responder
    let upgrader: WebSocketUpgrader
    let limits: TransportLimits
    /// Nil: plain HTTP.
    var certificates: TLSCertificates?

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        if let peer = NetworkAddress(channel.remoteAddress) {
            let addresses = upgrader.addresses
            guard addresses.connect(peer, at: .now) else {
                // A set-up that fails would end the listener: the connection is closed when served.
                let refused: EventLoopFuture<Outcome> = channel.eventLoop.makeFailedFuture(
                    ChannelError.ioOnClosedChannel)
                return channel.eventLoop.makeSucceededFuture(
                    Value(channel: channel, outcome: refused))
            }
            channel.closeFuture.whenComplete { _ in addresses.disconnect(peer) }
        }
        return channel.eventLoop.makeCompletedFuture {
            try channel.syncOptions?.setOption(.maxMessagesPerRead, value: limits.readsPerTurn)
            try channel.syncOptions?.setOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: limits.readBytes, initial: limits.readBytes,
                    maximum: limits.readBytesAtMost))
            return Value(channel: channel, outcome: try addHandlers(to: channel, logger: logger))
        }
    }

    func handle(value: Value, logger: Logger) async {
        do {
            switch try await value.outcome.get() {
            case .http(let channel): await handleHTTP(asyncChannel: channel, logger: logger)
            case .webSocket: break  // It lives in its handlers from now on.
            }
        } catch {
            // The connection ended, or was refused, before its first request was whole.
            logger.debug("connection was not served", metadata: ["error": "\(error)"])
            value.channel.close(mode: .all, promise: nil)
        }
    }

    private func addHandlers(
        to channel: any Channel, logger: Logger
    ) throws -> EventLoopFuture<Outcome> {
        var decoderLimits = NIOHTTPDecoderLimitConfiguration()
        decoderLimits.maxHeaderFieldSize = limits.headerFieldBytes
        decoderLimits.maxHeaderListSize = limits.headerBytes
        decoderLimits.maxHeaderFieldCount = limits.headerFields
        let decoder = ByteToMessageHandler(
            HTTPRequestDecoder(
                leftOverBytesStrategy: .forwardBytes, limitConfiguration: decoderLimits))
        let encoder = HTTPResponseEncoder()
        let requestGuard = RequestGuard(limits: limits)
        let idle = limits.idle
        let isSecure = certificates != nil
        let upgrade = NIOTypedHTTPServerUpgradeHandler(
            httpEncoder: encoder, extraHTTPHandlers: [decoder, requestGuard],
            upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration<Outcome>(
                upgraders: [upgrader],
                notUpgradingCompletionHandler: { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try Self.addHTTP(
                            to: channel, isSecure: isSecure, idle: idle, logger: logger)
                    }
                }))
        let pipeline = channel.pipeline.syncOperations
        if let certificates { try pipeline.addHandler(certificates.makeHandler()) }
        try pipeline.addHandlers([encoder, decoder, requestGuard, upgrade])
        return upgrade.upgradeResultFuture
    }

    private static func addHTTP(
        to channel: any Channel, isSecure: Bool, idle: Duration, logger: Logger
    ) throws -> Outcome {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: isSecure))
        try pipeline.addHandler(HTTPConnectionStateHandler(idleTimeout: idle, logger: logger))
        return .http(
            try NIOAsyncChannel(
                wrappingChannelSynchronously: channel,
                configuration: NIOAsyncChannel.Configuration(isOutboundHalfClosureEnabled: true)))
    }
}

/// Decides about upgrades, and puts the handlers of a socket into its channel.
struct WebSocketUpgrader: NIOTypedHTTPServerProtocolUpgrader {
    typealias UpgradeResult = WebSocketUpgradeChannel.Outcome

    let supportedProtocol = "websocket"
    /// Checked by ``SocketRequest``, which names what is missing.
    let requiredUpgradeHeaders: [String] = []

    let origins: OriginRule
    let environment: SocketEnvironment
    var addresses = AddressBook()
    let logger: Logger
    /// Whether no more sockets are taken.
    var isDraining: @Sendable () -> Bool = { false }
    /// Makes the session of whoever these credentials prove, in a room; or one that says why not.
    /// Without a room: for many of them.
    let makeSession: @Sendable (RoomID?, Credentials) -> any SocketSession

    func buildUpgradeResponse(
        channel: any Channel, upgradeRequest: HTTPRequestHead, initialResponseHeaders: HTTPHeaders
    ) -> EventLoopFuture<HTTPHeaders> {
        channel.eventLoop.makeCompletedFuture {
            let request: SocketRequest
            do throws(HTTPRefusal) {
                guard !isDraining() else { throw .draining }
                request = try socketRequest(upgradeRequest)
                try count(channel, upgradeRequest)
            } catch {
                refuse(channel, error)
                throw error
            }
            var headers = initialResponseHeaders
            headers.replaceOrAdd(
                name: "Sec-WebSocket-Accept", value: Self.accepting(key: request.key))
            if let subprotocol = request.subprotocol {
                headers.add(name: "Sec-WebSocket-Protocol", value: subprotocol)
            }
            return headers
        }
    }

    func upgrade(
        channel: any Channel, upgradeRequest: HTTPRequestHead
    ) -> EventLoopFuture<WebSocketUpgradeChannel.Outcome> {
        channel.eventLoop.makeCompletedFuture {
            let request = try socketRequest(upgradeRequest)
            let address = client(channel, upgradeRequest)
            let session = makeSession(request.room, request.credentials)
            try channel.pipeline.syncOperations.addHandler(
                WebSocketHandler(session: session, environment: environment, address: address))
            environment.metrics.upgraded(.switchingProtocols)
            return .webSocket
        }
    }

    /// Who asks for a socket; nil when the connection has no address any more.
    private func client(_ channel: any Channel, _ head: HTTPRequestHead) -> NetworkAddress? {
        NetworkAddress(channel.remoteAddress).map {
            addresses.proxies.client(peer: $0, forwarded: head.headers["X-Forwarded-For"])
        }
    }

    /// Counts the socket of its address until the connection ends.
    private func count(
        _ channel: any Channel, _ head: HTTPRequestHead
    ) throws(HTTPRefusal) {
        guard let address = client(channel, head) else { return }
        if let wait = addresses.open(address, at: .now) {
            logger.debug(
                "an address opens too many sockets", metadata: ["client.address": "\(address)"])
            throw HTTPRefusal(tooManySockets: wait)
        }
        channel.closeFuture.whenComplete { [addresses] _ in addresses.close(address) }
    }

    /// Answers here: NIO forgets a request that asked for an upgrade and does not get it.
    private func refuse(_ channel: any Channel, _ refusal: HTTPRefusal) {
        environment.metrics.upgraded(refusal.status)
        for part in refusal.parts { channel.write(part, promise: nil) }
        channel.flush()
        // Not cut at once: a reset would overtake the answer while the client still sends.
        channel.close(mode: .output, promise: nil)
        channel.eventLoop.scheduleTask(in: TimeAmount(environment.limits.closePatience)) {
            channel.close(promise: nil)
        }
    }

    private func socketRequest(_ head: HTTPRequestHead) throws(HTTPRefusal) -> SocketRequest {
        guard let target = RequestTarget(head.uri) else { throw .badTarget }
        let room: String?
        switch Route(target.segments) {
        case .socket(let name): room = name
        case .roomsSocket: room = nil
        case .messages, .moderation, .health, .readiness, .metrics, .file, .unknown: throw .notFound
        }
        guard head.method == .GET else { throw .notAllowed([.get]) }
        try Self.check(head)
        return try SocketRequest(
            room: room, target: target, origins: origins, hosts: head.headers["Host"]
        ) { head.headers[$0.rawName] }
    }

    /// The rules that come before those of the chat: RFC 6455, 4.2.1. That a request names one host
    /// is up to ``RequestGuard``.
    private static func check(_ head: HTTPRequestHead) throws(HTTPRefusal) {
        let hasBody =
            head.headers.contains(name: "Transfer-Encoding")
            || head.headers["Content-Length"].contains { $0 != "0" }
        let fault: String? =
            if (head.version.major, head.version.minor) < (1, 1) {
                "a WebSocket needs HTTP/1.1"
            } else if hasBody {
                "a request for a WebSocket has no body"
            } else {
                nil
            }
        if let fault { throw HTTPRefusal(.badRequest, code: "badRequest", fault) }
    }

    /// What proves that the request was understood: RFC 6455, 4.2.2.
    static func accepting(key: String) -> String {
        let text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        return Data(Insecure.SHA1.hash(data: Data(text.utf8))).base64EncodedString()
    }
}
