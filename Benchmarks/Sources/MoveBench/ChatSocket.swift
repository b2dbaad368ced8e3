import BenchKit
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Synchronization

/// One client of `chatd` in one room, with one message on its way at a time.
final class ChatSocket: Sendable {
    private struct Waiting {
        var continuation: CheckedContinuation<Int64, any Error>
        var since: ContinuousClock.Instant
    }

    private enum Upgraded: Sendable {
        case open, refused
    }

    /// How long an `ack` may take before it counts as an error.
    static let patience = Duration.seconds(10)

    private let channel: any Channel
    private let inbox: Inbox

    /// Where answers meet the caller who waits for them.
    private final class Inbox: Sendable {
        private let waiting = Mutex<Waiting?>(nil)

        func wait(_ continuation: CheckedContinuation<Int64, any Error>) {
            waiting.withLock { $0 = Waiting(continuation: continuation, since: .now) }
        }

        func answer(_ result: Result<Int64, any Error>) {
            let waiting = waiting.withLock { waiting in
                defer { waiting = nil }
                return waiting
            }
            waiting?.continuation.resume(with: result)
        }

        var isLate: Bool {
            waiting.withLock { $0.map { .now - $0.since > ChatSocket.patience } ?? false }
        }

        /// `{"type":"ack","id":"…","level":"stored","seq":4712}` and whatever else comes.
        func receive(_ text: String) {
            if text.hasPrefix("{\"type\":\"ack\"") {
                if let place = text.range(of: "\"seq\":") {
                    let digits = text[place.upperBound...].prefix { $0.isNumber }
                    return answer(.success(Int64(digits) ?? 0))
                }
                answer(.failure(BenchError(description: "not stored, only queued: \(text)")))
            } else if text.hasPrefix("{\"type\":\"error\"") || text.hasPrefix("{\"type\":\"bye\"") {
                answer(.failure(BenchError(description: text)))
            }
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = WebSocketFrame
        typealias OutboundOut = WebSocketFrame

        private let inbox: Inbox

        init(_ inbox: Inbox) { self.inbox = inbox }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let frame = unwrapInboundIn(data)
            switch frame.opcode {
            case .text:
                inbox.receive(String(buffer: frame.unmaskedData))
            case .ping:
                let pong = WebSocketFrame(
                    fin: true, opcode: .pong, maskKey: .random(), data: frame.unmaskedData)
                context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
            default:
                break
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            inbox.answer(.failure(BenchError(description: "the socket was closed")))
        }
    }

    private init(channel: any Channel, inbox: Inbox) {
        self.channel = channel
        self.inbox = inbox
    }

    static func open(room: String, user: String, port: Int) async throws -> ChatSocket {
        let inbox = Inbox()
        let (channel, upgrade) = try await ClientBootstrap(
            group: MultiThreadedEventLoopGroup.singleton
        )
        .connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture {
                let upgrader = NIOTypedWebSocketClientUpgrader<Upgraded> { channel, _ in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(Handler(inbox))
                        return .open
                    }
                }
                let head = HTTPRequestHead(
                    version: .http1_1, method: .GET,
                    uri: "/v1/rooms/\(room)/socket?user=\(user)",
                    headers: ["Host": "127.0.0.1:\(port)", "Sec-WebSocket-Protocol": "chat.v1"])
                let upgraded = try channel.pipeline.syncOperations
                    .configureUpgradableHTTPClientPipeline(
                        configuration: .init(
                            upgradeConfiguration: NIOTypedHTTPClientUpgradeConfiguration(
                                upgradeRequestHead: head, upgraders: [upgrader]
                            ) { channel in channel.eventLoop.makeSucceededFuture(.refused) }))
                return (channel, upgraded)
            }
        }
        guard try await upgrade.get() == .open else {
            throw BenchError(description: "chatd at \(port) refused a socket")
        }
        return ChatSocket(channel: channel, inbox: inbox)
    }

    /// Sends a message and returns the `seq` that its `ack` names.
    func send(id: UUID, text: String, sentAt: String) async throws -> Int64 {
        let frame =
            "{\"type\":\"message\",\"id\":\"\(id)\",\"sentAt\":\"\(sentAt)\",\"text\":\"\(text)\"}"
        return try await withCheckedThrowingContinuation { continuation in
            inbox.wait(continuation)
            write(frame)
        }
    }

    /// Says that the client is here, and ends a wait that takes too long.
    func beat() {
        write("{\"amhere\":true}")
        if inbox.isLate {
            inbox.answer(.failure(BenchError(description: "no ack within \(Self.patience)")))
        }
    }

    func close() async throws { try await channel.close() }

    private func write(_ text: String) {
        let frame = WebSocketFrame(
            fin: true, opcode: .text, maskKey: .random(), data: ByteBuffer(string: text))
        channel.writeAndFlush(frame).whenFailure { self.inbox.answer(.failure($0)) }
    }
}
