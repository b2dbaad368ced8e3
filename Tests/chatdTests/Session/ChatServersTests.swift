import FoundationEssentials
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// Two servers on one store, connected by a pub/sub that loses what the test wants lost.
@Suite(.timeLimit(.minutes(1))) struct ChatServersTests {
    @Test func `a message from one server is read on the other`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()

            ada.send(Sent.message(1))
            let message = try await bo.next("message")
            bo.send(Sent.message(2))

            #expect(message.number("seq") == 1)
            #expect(message.string("from") == "ada")
            while try await ada.next("message").number("seq") != 2 {}
        }
    }

    @Test func `a posted message reaches the readers of other servers`() async throws {
        try await run { one, other in
            let bo = other.client("bo")
            try await bo.join()
            let message = ClientMessage(id: .numbered(1), sentAt: one.clock.time, text: "beep")

            _ = try await one.server.post(message, to: .lobby, from: "bot")

            #expect(try await bo.next("message").string("text") == "beep")
        }
    }

    @Test func `a lost event is seen by the next one and read from the shard`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()
            try await quiet(one, other)
            let reads = one.store.reads.count

            other.pubSub.lose(1)
            ada.send(Sent.message(1))
            _ = try await ada.next("message")
            ada.send(Sent.message(2))
            let room = try #require(other.server.directory.existing(.lobby))
            while room.ask({ $0.arrivals.newest }) == nil { await Task.yield() }
            other.pass(.milliseconds(200), step: .milliseconds(100))

            #expect(try await bo.next("message").number("seq") == 1)
            #expect(try await bo.next("message").number("seq") == 2)
            #expect(
                one.store.reads.dropFirst(reads)
                    == [MemoryMessageStore.Read(before: nil, after: 0, limit: 500)])
        }
    }

    @Test func `a lost last event is noticed by the other server's next word`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()
            try await quiet(one, other)

            other.pubSub.lose(1)
            ada.send(Sent.message(1))
            _ = try await ada.next("message")
            // Each server tells who is there, and its head, once per beat.
            while bo.frames("message").isEmpty {
                one.pass(.seconds(1))
                other.server.tick()
                ada.send(Sent.beat(upTo: 1))
                bo.send(Sent.beat(upTo: 0))
                try await bo.settle()
                await Task.yield()
            }

            #expect(bo.frames("message").map { $0.number("seq") } == [1])
            #expect(bo.socket.closeCode == nil)
        }
    }

    @Test func `while pub/sub is away messages come within a beat and nobody is cut off`()
        async throws
    {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()
            try await quiet(one, other)
            one.pubSub.disconnect()
            other.pubSub.disconnect()

            ada.send(Sent.message(1))
            _ = try await ada.next("message")
            other.pass(.milliseconds(3_500))
            #expect(try await bo.next("message").number("seq") == 1)

            one.pubSub.reconnect()
            other.pubSub.reconnect()
            ada.send(Sent.message(2))
            #expect(try await bo.next("message").number("seq") == 2)
            #expect(ada.socket.closeCode == nil && bo.socket.closeCode == nil)
        }
    }

    @Test func `a room that alone is not heard reads its shard within a beat`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()
            try await quiet(one, other)
            other.pubSub.deafen(.lobby)

            ada.send(Sent.message(1))
            _ = try await ada.next("message")
            other.pass(.milliseconds(3_500))

            #expect(other.pubSub.isConnected)
            #expect(try await bo.next("message").number("seq") == 1)
        }
    }

    @Test func `what was missed is read when pub/sub is back`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()
            try await quiet(one, other)
            other.pubSub.disconnect()
            ada.send(Sent.message(1))
            _ = try await ada.next("message")
            one.clock.advance(by: .seconds(1))

            other.pubSub.reconnect()

            #expect(try await bo.next("message").number("seq") == 1)
        }
    }

    @Test func `people on both servers are in one room`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            try await ada.join()
            let bo = other.client("bo")
            let (_, first) = try await bo.join()
            // The other server answers once a second who is there.
            one.clock.advance(by: .seconds(1))
            one.server.tick()
            if first.strings("joined")?.contains("ada") != true {
                #expect(try await bo.next("presence").strings("joined") == ["ada"])
            }
            #expect(try await ada.next("presence").strings("joined") == ["bo"])

            // The next frame is due when a beat has passed since the last.
            one.clock.advance(by: .seconds(4))
            try await bo.close(code: 1001)

            #expect(try await ada.next("presence").strings("left") == ["bo"])
        }
    }

    @Test func `people of a server that died are gone in time`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()
            #expect(try await ada.next("presence").strings("joined") == ["bo"])

            other.pubSub.disconnect()
            one.pass(.seconds(9))
            ada.send(Sent.beat(upTo: 0))
            try await ada.settle()
            one.pass(.seconds(9))

            #expect(try await ada.next("presence").strings("left") == ["bo"])
        }
    }

    @Test func `typing crosses servers`() async throws {
        try await run { one, other in
            let ada = one.client("ada")
            let bo = other.client("bo")
            try await ada.join()
            try await bo.join()

            ada.send("{\"type\":\"typing\"}")

            #expect(try await bo.next("typing").string("from") == "ada")
        }
    }

    @Test func `events that make no sense are ignored`() async throws {
        try await run { one, _ in
            let ada = one.client("ada")
            try await ada.join()

            for payload in [[], [9, 9], [1, 1, 0], [1, 200, 4]] as [[UInt8]] {
                one.pubSub.take(payload, .lobby)
            }
            one.pubSub.take(RoomEvent.typing(user: "bo").encoded(), .lobby)

            #expect(try await ada.next("typing").string("from") == "bo")
        }
    }

    /// The clients of two servers write at random while events are lost: in the end everybody who
    /// heeds his heartbeats has the same messages.
    @Test(arguments: 0..<6)
    func `whatever is lost, everybody ends with the same messages`(seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        try await run { one, other in
            var clients: [FakeClient] = []
            for index in 0..<4 {
                let client = (index % 2 == 0 ? one : other).client("user \(index)")
                try await client.join()
                clients.append(client)
            }
            for number in 1...60 {
                let sender = clients.randomElement(using: &random)!
                if Int.random(in: 0..<4, using: &random) == 0 {
                    (Bool.random(using: &random) ? one : other).pubSub.lose(1)
                }
                sender.send(Sent.message(number))
                if number % 5 == 0 {
                    _ = try await sender.next("ack")
                    one.clock.advance(by: .milliseconds(500))
                    one.server.tick()
                    other.server.tick()
                }
            }
            func seqs(_ client: FakeClient) -> Set<Int> {
                Set(
                    (client.frames("message") + client.frames("sync").flatMap(\.messages))
                        .compactMap { $0.number("seq") })
            }
            while !clients.allSatisfy({ seqs($0) == Set(1...60) }) {
                one.clock.advance(by: .seconds(4))
                one.server.tick()
                other.server.tick()
                for client in clients {
                    let seen = seqs(client)
                    let upTo = (0...60).last { Set(1..<$0 + 1).isSubset(of: seen) } ?? 0
                    client.send(Sent.beat(upTo: Int64(upTo)))
                    try await client.settle()
                }
            }

            #expect(one.store.messages(of: .lobby).map(\.seq) == Array(1...60))
            #expect(clients.allSatisfy { $0.socket.closeCode == nil })
        }
    }

    // MARK: Helpers

    private func run(
        _ body: (_ one: TestChat, _ other: TestChat) async throws -> Void
    ) async throws {
        let store = MemoryMessageStore()
        let hub = PubSubHub()
        let clock = ManualClock()
        try await TestChat.run(store: store, hub: hub, clock: clock) { one in
            try await TestChat.run(store: store, hub: hub, clock: clock) { other in
                try await body(one, other)
            }
        }
    }

    /// Returns when both rooms have read what their subscriptions made them read.
    private func quiet(_ one: TestChat, _ other: TestChat) async throws {
        one.clock.advance(by: .seconds(1))
        for chat in [one, other] {
            chat.server.tick()
        }
        let reads = { one.store.reads.count { $0.after != nil } }
        while reads() < 2 { await Task.yield() }
    }
}
