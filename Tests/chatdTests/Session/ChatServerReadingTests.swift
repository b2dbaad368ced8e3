import FoundationEssentials
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// What clients are told when they say what they have, or ask for what they have not.
@Suite(.timeLimit(.minutes(1))) struct ChatServerReadingTests {
    // MARK: Heartbeats

    @Test func `a heartbeat is answered if and only if something is missing`() async throws {
        let store = MemoryMessageStore()
        for number in 1...3 { store.put(.numbered(number)) }
        try await TestChat.run(store: store) { chat in
            let ada = chat.client("ada")
            try await ada.join()

            ada.send(Sent.beat(seen: [1, 2, 3]))
            ada.send(Sent.beat(upTo: 3))
            ada.send("{\"amhere\":true}")
            ada.send("{\"amhere\":true,\"seen\":{\"upTo\":3,\"count\":0}}")
            try await ada.settle()
            try await ada.settle()
            #expect(ada.frames("sync").isEmpty)

            ada.send(Sent.beat(seen: [1, 3]))
            #expect(try await ada.next("sync").messages.map { $0.number("seq") } == [2])
        }
    }

    @Test func `a client that knows more than the room makes it read at once`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            chat.clock.advance(by: .seconds(1))
            // Another server stored them, and its word was lost.
            for number in 1...3 { chat.store.put(.numbered(number)) }

            ada.send(Sent.beat(upTo: 3))

            for seq in 1...3 { #expect(try await bo.next("message").number("seq") == seq) }
        }
    }

    @Test func `no seq that a client names does harm`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            chat.clock.advance(by: .seconds(1))

            ada.send(Sent.beat(upTo: .max))
            ada.send(Sent.beat(upTo: .max))
            ada.send("{\"type\":\"history\",\"after\":9223372036854775807}")
            ada.send("{\"type\":\"history\",\"before\":0}")
            for _ in 0..<2 { #expect(try await ada.next("history").messages.isEmpty) }
            ada.send(Sent.message(1))

            #expect(try await ada.next("message").number("seq") == 1)
        }
    }

    // MARK: History

    @Test func `a page of history is asked for over the socket`() async throws {
        let store = MemoryMessageStore()
        for number in 1...10 { store.put(.numbered(number)) }
        try await TestChat.run(store: store) { chat in
            let ada = chat.client("ada")
            try await ada.join()

            ada.send("{\"type\":\"history\",\"before\":8,\"limit\":3}")
            let older = try await ada.next("history")
            ada.send("{\"type\":\"history\",\"after\":7,\"limit\":5}")
            let newer = try await ada.next("history")

            #expect(older.messages.map { $0.number("seq") } == [5, 6, 7])
            #expect(older.flag("complete") == false)
            #expect(newer.messages.map { $0.number("seq") } == [8, 9, 10])
            #expect(newer.flag("complete") == true)
        }
    }

    @Test func `history that cannot be read is an error that may pass`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            chat.store.fail(reads: .unavailable(shard: ShardID(1), reason: "secret host"))

            ada.send("{\"type\":\"history\"}")
            let error = try await ada.next("error")

            #expect(error.string("code") == "unavailable")
            #expect(error.flag("temporary") == true)
            #expect(error.string("message")?.contains("secret") == false)
        }
    }
}
