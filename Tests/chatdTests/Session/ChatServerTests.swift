import FoundationEssentials
import NIOCore
import NIOPosix
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// One server, its sockets faked, its messages in memory.
@Suite(.timeLimit(.minutes(1))) struct ChatServerTests {
    // MARK: Coming in

    @Test func `hello comes first and says where the room stands`() async throws {
        let store = MemoryMessageStore()
        for number in 1...3 { store.put(.numbered(number)) }
        try await TestChat.run(store: store) { chat in
            let ada = chat.client("ada")

            let (hello, presence) = try await ada.join()

            #expect(ada.socket.frames.map(\.type) == ["hello", "presence"])
            #expect(hello.string("user") == "ada")
            #expect(hello.string("room") == "lobby")
            #expect(hello.number("head") == 3)
            #expect(hello.flag("warm") == true)
            #expect(presence.strings("joined") == ["ada"])
        }
    }

    @Test func `who comes while the room is read waits for it, and so do his frames`() async throws
    {
        let store = MemoryMessageStore()
        store.put(.numbered(1))
        store.hold()
        try await TestChat.run(store: store) { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.open()
            try await bo.open()
            ada.send("{\"type\":\"nonsense\"}")
            try await ada.settle()
            #expect(ada.socket.frames.isEmpty)

            store.release()

            #expect(try await ada.next("hello").flag("warm") == true)
            #expect(try await bo.next("hello").number("head") == 1)
            #expect(try await ada.next("error").string("code") == "unknownType")
            #expect(store.reads.count { $0.before == nil && $0.after == nil } == 1)
        }
    }

    @Test func `a room whose shard does not answer lets people in after two seconds`() async throws
    {
        let store = MemoryMessageStore()
        store.put(.numbered(1))
        store.hold()
        try await TestChat.run(store: store) { chat in
            let ada = chat.client("ada")
            try await ada.open()
            chat.pass(.milliseconds(1_900), step: .milliseconds(100))
            try await ada.settle()
            #expect(ada.socket.frames.isEmpty)

            chat.pass(.milliseconds(200), step: .milliseconds(100))
            #expect(try await ada.next("hello").flag("warm") == false)

            // What the room reads later reaches the client by its next heartbeat.
            store.release()
            let bo = chat.client("bo")
            #expect(try await bo.join().hello.flag("warm") == true)
            ada.send(Sent.beat(upTo: 0))
            let sync = try await ada.next("sync")
            #expect(sync.messages.map { $0.number("seq") } == [1])
            #expect(sync.flag("complete") == true)
        }
    }

    @Test func `a room that cannot be read is tried again`() async throws {
        let store = MemoryMessageStore()
        store.put(.numbered(1))
        store.fail(reads: .unavailable(shard: ShardID(1), reason: "test"))
        try await TestChat.run(store: store) { chat in
            let ada = chat.client("ada")
            try await ada.open()
            chat.pass(.seconds(2))
            #expect(try await ada.next("hello").flag("warm") == false)

            store.fail(reads: nil)
            // A join is answered cold until a read has succeeded.
            var isWarm = false
            var attempts = 0
            while !isWarm {
                chat.pass(.seconds(5))
                let client = chat.client("guest \(attempts)")
                isWarm = try await client.join().hello.flag("warm") == true
                attempts += 1
                ada.send("{\"amhere\":true}")
                try await ada.settle()
            }
            ada.send(Sent.beat(upTo: 0))
            #expect(try await ada.next("sync").messages.count == 1)
        }
    }

    // MARK: Messages

    @Test func `a message reaches everybody, and its author is told first`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()

            ada.send(Sent.message(1, text: "hello"))
            let message = try await bo.next("message")
            _ = try await ada.next("message")

            #expect(message.string("from") == "ada")
            #expect(message.string("text") == "hello")
            #expect(message.number("seq") == 1)
            #expect(chat.store.messages(of: .lobby).map(\.message.text) == ["hello"])
            let kinds = ada.socket.frames.map(\.type)
            #expect(kinds.filter { $0 == "ack" || $0 == "message" } == ["ack", "message"])
            #expect(ada.frames("ack").first?.number("seq") == 1)
            #expect(bo.frames("ack").isEmpty)
        }
    }

    @Test func `everybody reads the same order, on whatever loop`() async throws {
        try await TestChat.run { chat in
            let loops = MultiThreadedEventLoopGroup(numberOfThreads: 3)
            var clients: [FakeClient] = []
            for index in 0..<6 {
                let client = chat.client("user \(index)", loop: loops.next())
                try await client.join()
                clients.append(client)
            }

            for number in 0..<20 {
                for (index, client) in clients.enumerated() {
                    client.send(Sent.message(100 * index + number))
                }
            }
            for client in clients {
                for _ in 0..<120 { _ = try await client.next("message") }
            }

            let orders = clients.map { $0.frames("message").map { $0.number("seq") } }
            #expect(Set(orders).count == 1)
            #expect(Set(orders[0]) == Set(1...120))
            try await loops.shutdownGracefully()
        }
    }

    @Test func `messages of one socket are stored in the order they came`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            // All wait for the shard at once, none for another.
            chat.store.hold()

            for number in 1...20 { ada.send(Sent.message(number)) }
            while chat.store.heldCount < 20 { await Task.yield() }
            chat.store.release()
            for _ in 1...20 { _ = try await ada.next("ack") }

            #expect(chat.store.begun == (1...20).map { .numbered($0) })
        }
    }

    @Test func `the same message again gets the same ack and is told once`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()

            for number in [1, 1, 2, 1] { ada.send(Sent.message(number)) }
            var acks: [Int: Set<Int>] = [:]
            for _ in 0..<4 {
                let ack = try await ada.next("ack")
                let isFirst = ack.string("id") == MessageID.text(of: .numbered(1))
                acks[isFirst ? 1 : 2, default: []].insert(try #require(ack.number("seq")))
            }

            try await ada.settle()
            #expect(acks == [1: [1], 2: [2]])
            #expect(ada.frames("message").map { $0.number("seq") } == [1, 2])
        }
    }

    @Test func `a stored message that the window lacks is told when it is sent again`() async throws
    {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            // Another server stored it, and its word was lost.
            chat.store.put(.numbered(1, text: "hello"))

            ada.send(Sent.message(1))

            #expect(try await ada.next("ack").number("seq") == 1)
            // It is read, for what its author sends may have been deleted.
            chat.pass(.seconds(1))
            #expect(try await bo.next("message").number("seq") == 1)
        }
    }

    @Test func `a message that waits on disk is acknowledged as queued and told when it is stored`()
        async throws
    {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            chat.store.queue(true)

            ada.send(Sent.message(1))
            let ack = try await ada.next("ack")
            chat.store.queue(false)
            let message = Message.numbered(1, room: .lobby, author: "ada", text: "hello")
            let stored = chat.store.put(message)
            chat.server.drained(
                message,
                Receipt(
                    seq: stored.seq, isDuplicate: false, sentAt: message.sentAt,
                    receivedAt: message.receivedAt, shard: ShardID(1)))

            #expect(ack.string("level") == "queued")
            #expect(ack.number("seq") == nil)
            for client in [ada, bo] {
                let message = try await client.next("message")
                #expect(message.string("id") == MessageID.text(of: .numbered(1)))
                #expect(message.number("seq") == 1)
            }
        }
    }

    @Test func `an id that holds another message is a conflict`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()

            ada.send(Sent.message(1, text: "one"))
            ada.send(Sent.message(1, text: "two"))
            let error = try await ada.next("error")

            #expect(error.string("code") == "idConflict")
            #expect(error.string("id") == MessageID.text(of: .numbered(1)))
            #expect(error.flag("temporary") == false)
        }
    }

    @Test(
        arguments: [
            (
                .unavailable(
                    shard: ShardID(1), reason: "secret host", retryAfter: .milliseconds(500)),
                "unavailable", true, 500
            ),
            (.unknownOutcome(shard: ShardID(1), reason: "secret host"), "unavailable", true, nil),
            (.stopped, "unavailable", true, nil),
            (.refused(id: .numbered(1), reason: "secret", sqlState: nil), "badMessage", false, nil),
            (.overloaded(shard: ShardID(1), retryAfter: .milliseconds(70)), "overloaded", true, 70),
        ] as [(WriteError, String, Bool, Int?)])
    func `a message that is not stored is answered and told to nobody`(
        writeError: WriteError, code: String, isTemporary: Bool, retryAfter: Int?
    ) async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            chat.store.fail(writes: writeError)

            ada.send(Sent.message(1))
            let error = try await ada.next("error")

            #expect(error.string("code") == code)
            #expect(error.flag("temporary") == isTemporary)
            #expect(error.number("retryAfter") == retryAfter)
            #expect(error.string("id") == MessageID.text(of: .numbered(1)))
            #expect(error.string("message")?.contains("secret") == false)
            #expect(ada.frames("message").isEmpty)
        }
    }

    @Test func `a message with an unknown outcome is read, in case it was stored`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            chat.clock.advance(by: .seconds(1))
            chat.server.tick()
            while chat.store.reads.count < 2 { await Task.yield() }
            chat.clock.advance(by: .seconds(1))
            chat.store.fail(writes: .unknownOutcome(shard: ShardID(1), reason: "test"))
            chat.store.put(.numbered(1))

            ada.send(Sent.message(1))

            _ = try await ada.next("error")
            #expect(try await ada.next("message").number("seq") == 1)
        }
    }

    @Test func `more than twenty messages a second are refused and not stored`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()

            for number in 1...21 { ada.send(Sent.message(number)) }
            let error = try await ada.next("error")
            for _ in 1...20 where ada.frames("ack").count < 20 { _ = try await ada.next("ack") }

            #expect(error.string("code") == "rateLimited")
            #expect(error.string("id") == MessageID.text(of: .numbered(21)))
            #expect(error.number("retryAfter") == 50)
            #expect(chat.store.messages(of: .lobby).count == 20)
        }
    }

    @Test func `messages that wait for their shard are bounded`() async throws {
        var limits = ChatLimits()
        limits.session.writesInFlight = 2
        try await TestChat.run(limits: limits) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            chat.store.hold()

            for number in 1...3 { ada.send(Sent.message(number)) }
            let error = try await ada.next("error")
            #expect(error.string("code") == "overloaded")
            #expect(error.string("id") == MessageID.text(of: .numbered(3)))

            chat.store.release()
            for _ in 1...2 { _ = try await ada.next("ack") }
            ada.send(Sent.message(3))
            #expect(try await ada.next("ack").number("seq") == 3)
        }
    }

    @Test func `a posted message is told to the room, once`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            let message = ClientMessage(id: .numbered(1), sentAt: chat.clock.time, text: "beep")

            let first = try await chat.server.post(message, to: .lobby, from: "bot")
            let second = try await chat.server.post(message, to: .lobby, from: "bot")
            _ = try await chat.server.post(message, to: RoomID("elsewhere"), from: "bot")

            #expect(try await ada.next("message").string("from") == "bot")
            try await ada.settle()
            #expect(ada.frames("message").count == 1)
            guard case .stored(let one) = first, case .stored(let other) = second else {
                Issue.record("\(first), \(second)")
                return
            }
            #expect(!one.isDuplicate && other.isDuplicate)
            #expect(one.seq == other.seq)
        }
    }
}
