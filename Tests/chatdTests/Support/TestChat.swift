import FoundationEssentials
import Logging
import NIOCore
import Postgres
import ShardRouter
import TestKit

@testable import chatd

/// One server with a clock that stands still, for as long as `body` runs.
struct TestChat {
    let server: ChatServer
    let store: MemoryMessageStore
    let pubSub: PubSubHub.Link
    let clock: ManualClock

    static func run(
        store: MemoryMessageStore = MemoryMessageStore(), hub: PubSubHub = PubSubHub(),
        clock: ManualClock = ManualClock(), limits: ChatLimits = ChatLimits(),
        receipts: ReceiptKeyring = ReceiptKeyring(), metrics: ChatMetrics = ChatMetrics(),
        tracing: ChatTracing = ChatTracing(),
        authenticator: any Authenticator = OpenAuthenticator(),
        _ body: (TestChat) async throws -> Void
    ) async throws {
        let pubSub = hub.link()
        let server = server(
            store: store, pubSub: pubSub, clock: clock, limits: limits, receipts: receipts,
            metrics: metrics, tracing: tracing, authenticator: authenticator)
        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            try await body(TestChat(server: server, store: store, pubSub: pubSub, clock: clock))
            group.cancelAll()
        }
    }

    static func server(
        store: MemoryMessageStore, pubSub: PubSubHub.Link, clock: ManualClock,
        limits: ChatLimits = ChatLimits(), receipts: ReceiptKeyring = ReceiptKeyring(),
        metrics: ChatMetrics = ChatMetrics(), tracing: ChatTracing = ChatTracing(),
        authenticator: any Authenticator = OpenAuthenticator()
    ) -> ChatServer {
        ChatServer(
            store: store, pubSub: pubSub, serverName: "chatd-test", limits: limits,
            receipts: receipts,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            clock: ChatClock(now: { clock.now }, time: { clock.time }),
            draw: { $0.lowerBound }, metrics: metrics, tracing: tracing,
            authenticator: authenticator)
    }

    func client(
        _ user: String, in room: RoomID = .lobby, loop: (any EventLoop)? = nil
    ) -> FakeClient {
        FakeClient(server, room: room, credentials: Credentials(user: user), loop: loop)
    }

    func client(token: String, in room: RoomID = .lobby) -> FakeClient {
        FakeClient(server, room: room, credentials: Credentials(token: .one(token)))
    }

    /// A socket with many rooms.
    func roomsClient(_ user: String) -> FakeClient {
        FakeClient(server, room: nil, credentials: Credentials(user: user))
    }

    /// Lets time pass, and has the server look at the clock as often as it would.
    func pass(_ duration: Duration, step: Duration = .milliseconds(250)) {
        var rest = duration
        while rest > .zero {
            clock.advance(by: min(step, rest))
            rest -= step
            server.tick()
        }
    }
}

extension RoomID {
    static let lobby = RoomID("lobby")
}

extension UUID {
    /// An id of version 4 that tells itself apart by `number`.
    static func numbered(_ number: Int) -> UUID {
        UUID(
            upper: 0x2b19_0304_9788_4dfb, lower: 0xbe16_0000_0000_0000 | UInt64(number))
    }
}

extension Message {
    static func numbered(
        _ number: Int, room: RoomID = .lobby, author: String = "ada",
        at time: Timestamp = ManualClock().time, text: String? = nil
    ) -> Message {
        Message(
            id: .numbered(number), room: room, author: author, sentAt: time, receivedAt: time,
            text: text ?? "text \(number)")
    }
}

/// What a client sends.
enum Sent {
    static func message(_ number: Int, text: String = "hello") -> String {
        """
        {"type":"message","id":"\(MessageID.text(of: .numbered(number)))",\
        "sentAt":"2026-11-23T10:15:02.113Z","text":"\(text)"}
        """
    }

    /// A frame for a socket with many rooms.
    static func inRoom(_ frame: String, _ room: RoomID) -> String {
        "{\"room\":\"\(room.text)\"," + frame.dropFirst()
    }

    static func beat(upTo: Int64) -> String { "{\"amhere\":true,\"upTo\":\(upTo)}" }

    static func beat(seen numbers: [Int]) -> String {
        let ids = numbers.map { "\"\(MessageID.text(of: .numbered($0)))\"" }
        return "{\"amhere\":true,\"msgSeen\":[\(ids.joined(separator: ","))]}"
    }
}
