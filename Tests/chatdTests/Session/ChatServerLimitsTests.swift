import FoundationEssentials
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// What one user, one room and one address may do, over all sockets and requests.
@Suite(.timeLimit(.minutes(1))) struct ChatServerLimitsTests {
    private func limits(_ change: (inout SharedLimits) -> Void) -> ChatLimits {
        var limits = ChatLimits()
        change(&limits.shared)
        return limits
    }

    private func responder(
        _ chat: TestChat, reading: ReadingLimits = ReadingLimits(),
        proxies: TrustedProxies = TrustedProxies()
    ) -> ChatResponder {
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        return ChatResponder(
            chat: chat.server,
            readiness: Readiness(
                store: chat.store, pubSub: chat.pubSub, limits: TransportLimits()),
            origins: OriginRule(), limits: ChatLimits(), files: WebFiles(),
            registry: PrometheusRegistry(logger: logger),
            reading: ReadingRates(limits: reading), proxies: proxies)
    }

    private func request(
        _ method: HTTPRequest.Method, _ query: String = "", _ number: Int = 0,
        forwarded: String? = nil
    ) -> Request {
        var headers: HTTPFields = [:]
        headers[HTTPField.Name("X-Forwarded-For")!] = forwarded
        return Request(
            head: HTTPRequest(
                method: method, scheme: nil, authority: "chat.example",
                path: "/v1/rooms/lobby/messages" + query, headerFields: headers),
            body: .init(buffer: ByteBuffer(string: Sent.message(number))))
    }

    // MARK: Messages

    @Test func `a user has one rate for all his sockets, and for posts`() async throws {
        let limits = limits { $0.userMessagesPerSecond = 4 }
        try await TestChat.run(limits: limits) { chat in
            let first = chat.client("ada")
            let second = chat.client("ada", in: RoomID("other"))
            let bo = chat.client("bo")
            for one in [first, second, bo] { try await one.join() }
            for number in 1...2 { first.send(Sent.message(number)) }
            for _ in 1...2 { _ = try await first.next("ack") }
            second.send(Sent.message(3))
            _ = try await second.next("ack")
            let responder = responder(chat)
            let posted = await responder.observed(request(.post, "?user=ada", 4))
            #expect(posted.status == .created)

            second.send(Sent.message(5))
            let error = try await second.next("error")
            let refused = await responder.observed(request(.post, "?user=ada", 6))

            #expect(error.string("code") == "rateLimited")
            #expect(error.string("id") == MessageID.text(of: .numbered(5)))
            #expect(error.number("retryAfter") == 250)
            #expect(refused.status == .tooManyRequests)
            #expect(refused.headers[.retryAfter] == "1")
            bo.send(Sent.message(7))
            _ = try await bo.next("ack")
            chat.clock.advance(by: .milliseconds(250))
            second.send(Sent.message(5))
            _ = try await second.next("ack")
        }
    }

    @Test func `a room has a rate, whoever writes, and other rooms do not feel it`() async throws {
        let limits = limits { $0.roomMessagesPerSecond = 2 }
        try await TestChat.run(limits: limits) { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            let other = chat.client("bo", in: RoomID("other"))
            for one in [ada, bo, other] { try await one.join() }
            for number in 1...2 { ada.send(Sent.message(number)) }
            for _ in 1...2 { _ = try await ada.next("ack") }

            bo.send(Sent.message(3))
            #expect(try await bo.next("error").number("retryAfter") == 500)

            other.send(Sent.message(4))
            _ = try await other.next("ack")
            #expect(chat.store.messages(of: .lobby).count == 2)
        }
    }

    @Test func `whoever goes on when he is refused loses the connection`() async throws {
        var limits = limits { $0.userMessagesPerSecond = 1 }
        limits.session.refusedFrames = 5
        try await TestChat.run(limits: limits) { chat in
            let ada = chat.client("ada")
            try await ada.join()

            for number in 1...7 { ada.send(Sent.message(number)) }

            #expect(try await ada.next("bye").number("code") == 4429)
            try await ada.close(code: 4429)
            #expect(chat.store.messages(of: .lobby).count == 1)
        }
    }

    // MARK: Sockets

    @Test func `a user has so many sockets, and a place again when one is closed`() async throws {
        let limits = limits { $0.userSockets = 2 }
        try await TestChat.run(limits: limits) { chat in
            let first = chat.client("ada")
            let second = chat.client("ada", in: RoomID("other"))
            try await first.join()
            try await second.join()

            let third = chat.client("ada")
            try await third.open()
            third.send(Sent.message(1))
            let bye = try await third.next("bye")
            try await third.settle()
            try await third.close(code: 4429)

            #expect(bye.number("code") == 4429)
            #expect(bye.string("reason") == "too many sockets of this user")
            #expect(bye.number("retryAfter") == 10_000)
            #expect(third.socket.closeCode == 4429)
            #expect(third.frames("hello").isEmpty)
            #expect(chat.store.messages(of: .lobby).isEmpty)
            try await chat.client("bo").join()
            try await first.close(code: 1000)
            try await chat.client("ada").join()
        }
    }

    @Test func `a room has so many sockets`() async throws {
        let limits = limits { $0.roomSockets = 1 }
        try await TestChat.run(limits: limits) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            let bo = chat.client("bo")
            try await bo.open()

            #expect(try await bo.next("bye").string("reason") == "too many sockets in this room")
            try await chat.client("bo", in: RoomID("other")).join()
            try await ada.close(code: nil)
            try await chat.client("bo").join()
        }
    }

    // MARK: History

    @Test func `a user reads so many pages a second`() async throws {
        try await TestChat.run { chat in
            var limits = ReadingLimits()
            limits.userPagesPerSecond = 2
            let responder = responder(chat, reading: limits)
            for _ in 1...2 {
                #expect(await responder.observed(request(.get, "?user=ada")).status == .ok)
            }

            let refused = await responder.observed(request(.get, "?user=ada"))

            #expect(refused.status == .tooManyRequests)
            #expect(refused.headers[.retryAfter] == "1")
            #expect(await responder.observed(request(.get, "?user=bo")).status == .ok)
            chat.clock.advance(by: .seconds(1))
            #expect(await responder.observed(request(.get, "?user=ada")).status == .ok)
        }
    }

    @Test func `an address reads so many pages a second, nameless or not`() async throws {
        try await TestChat.run { chat in
            var limits = ReadingLimits()
            limits.addressPagesPerSecond = 2
            let proxy = try #require(NetworkAddress("10.0.0.1"))
            let range = try #require(AddressRange("10.0.0.1"))
            let responder = responder(
                chat, reading: limits, proxies: TrustedProxies(ranges: [range]))
            func read(_ query: String, _ client: String) async -> HTTPResponse.Status {
                await responder.observed(
                    request(.get, query, forwarded: client), from: proxy
                ).status
            }
            #expect(await read("", "203.0.113.7") == .ok)
            #expect(await read("?user=ada", "203.0.113.7") == .ok)

            #expect(await read("", "203.0.113.7") == .tooManyRequests)
            #expect(await read("?user=bo", "198.51.100.1, 203.0.113.7") == .tooManyRequests)
            #expect(await read("", "203.0.113.8") == .ok)
            // The machine's own programs are not counted.
            for _ in 1...5 { #expect(await read("", "127.0.0.1") == .ok) }
        }
    }
}
