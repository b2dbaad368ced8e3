import FoundationEssentials
import NIOCore
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// Who is there, who is slow, who is silent, and how it ends.
@Suite(.timeLimit(.minutes(1))) struct ChatServerLifeTests {
    // MARK: Presence and typing

    @Test func `who comes and who leaves is told to the others`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            let bo = chat.client("bo")
            let (_, everybody) = try await bo.join()
            #expect(everybody.strings("joined") == ["ada", "bo"])
            let arrival = try await ada.next("presence")
            #expect(arrival.strings("joined") == ["bo"])
            #expect(arrival.number("count") == 2)

            try await bo.close(code: 1000)
            chat.pass(.milliseconds(3_500))

            let departure = try await ada.next("presence")
            #expect(departure.strings("left") == ["bo"])
            #expect(departure.number("count") == 1)
        }
    }

    @Test func `a lost connection leaves when its time is over`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            _ = try await ada.next("presence")

            try await bo.close(code: nil)
            chat.pass(.seconds(17))
            ada.send(Sent.beat(upTo: 0))
            try await ada.settle()
            #expect(ada.frames("presence").count == 2)

            chat.pass(.seconds(1))
            #expect(try await ada.next("presence").strings("left") == ["bo"])
        }
    }

    @Test func `typing reaches the others, and not too often`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()

            for _ in 0..<5 { ada.send("{\"type\":\"typing\"}") }
            ada.send(Sent.message(1))
            _ = try await bo.next("message")
            _ = try await ada.next("message")

            #expect(bo.frames("typing").map { $0.string("from") } == ["ada"])
            #expect(ada.frames("typing").isEmpty)
            #expect(chat.store.messages(of: .lobby).count == 1)
        }
    }

    // MARK: Slow and silent

    @Test func `a slow reader is skipped, then healed, and nobody else feels it`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            bo.socket.setPendingBytes(SessionLimits().pendingBytes + 1)

            for number in 1...3 { ada.send(Sent.message(number)) }
            for _ in 1...3 { _ = try await ada.next("message") }
            try await bo.settle()
            bo.send(Sent.beat(upTo: 0))
            try await bo.settle()
            try await bo.settle()
            #expect(bo.frames("message").isEmpty)
            #expect(bo.frames("sync").isEmpty)

            // It was never written to him, so that nothing is on its way.
            bo.socket.setPendingBytes(0)
            bo.send(Sent.beat(upTo: 0))
            #expect(try await bo.next("sync").messages.map { $0.number("seq") } == [1, 2, 3])
            #expect(bo.socket.closeCode == nil)
        }
    }

    @Test func `a slow reader who missed who came is told everybody`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            bo.socket.setPendingBytes(SessionLimits().pendingBytes + 1)
            let guest = chat.client("guest")
            try await guest.join()
            chat.pass(.seconds(4))
            try await bo.settle()
            #expect(bo.frames("presence").count == 1)

            bo.socket.setPendingBytes(0)
            chat.pass(.seconds(2))

            while try await bo.next("presence").strings("joined") != ["ada", "bo", "guest"] {}
        }
    }

    @Test func `a reader that stays slow is closed`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            ada.socket.setPendingBytes(SessionLimits().pendingBytes + 1)

            chat.pass(.seconds(13))

            let bye = try await ada.next("bye")
            try await ada.settle()
            #expect(bye.number("code") == 4002)
            #expect(ada.socket.closeCode == 4002)
        }
    }

    @Test func `thirty seconds without a beat close the socket`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            chat.pass(.seconds(20))
            bo.send(Sent.beat(upTo: 0))
            try await bo.settle()

            chat.pass(.seconds(12))
            let bye = try await ada.next("bye")
            try await ada.settle()

            #expect(bye.number("code") == 4003)
            #expect(bye.number("reconnectAfter") == 200)
            #expect(ada.socket.closeCode == 4003)
            #expect(bo.socket.closeCode == nil)
        }
    }

    @Test func `ten bad frames in a minute cost the connection`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()

            for _ in 1...12 { ada.send("nonsense") }
            let bye = try await ada.next("bye")
            try await ada.settle()

            #expect(ada.frames("error").count == 10)
            #expect(ada.frames("error").allSatisfy { $0.string("code") == "badFrame" })
            #expect(bye.number("code") == 4429)
            #expect(bye.number("retryAfter") == 10_000)
            #expect(bye.number("reconnectAfter") == 10_200)
            #expect(ada.socket.closeCode == 4429)
        }
    }

    // MARK: Rooms

    @Test func `a room is dropped a while after its last socket left`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            #expect(chat.pubSub.subscriptions == [.lobby])

            try await ada.close(code: 1000)
            chat.pass(.seconds(20))
            #expect(chat.pubSub.subscriptions == [.lobby])
            chat.pass(.seconds(12))
            #expect(chat.pubSub.subscriptions.isEmpty)

            let again = chat.client("ada")
            #expect(try await again.join().hello.flag("warm") == true)
        }
    }

    @Test func `who comes back soon finds the room as it was`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            // The second read belongs to the subscription.
            chat.clock.advance(by: .seconds(1))
            while chat.store.reads.count < 2 {
                chat.server.tick()
                await Task.yield()
            }
            try await ada.close(code: nil)
            chat.pass(.seconds(20))
            let reads = chat.store.reads.count

            let again = chat.client("ada")
            try await again.join()
            chat.pass(.seconds(20))

            #expect(chat.store.reads.count == reads)
            #expect(chat.pubSub.subscriptions == [.lobby])
        }
    }

    @Test func `idle rooms are bounded in number`() async throws {
        var limits = ChatLimits()
        limits.room.idleRooms = 2
        try await TestChat.run(limits: limits) { chat in
            for index in 1...4 {
                let client = chat.client("ada", in: RoomID("room-\(index)"))
                try await client.join()
                try await client.close(code: 1000)
                chat.clock.advance(by: .seconds(1))
            }

            chat.pass(.seconds(1))

            #expect(chat.pubSub.subscriptions == [RoomID("room-3"), RoomID("room-4")])
        }
    }

    // MARK: The end

    @Test func `stopping tells every client and closes its socket`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()
            let late = chat.client("late")

            chat.server.stop()
            let bye = try await ada.next("bye")
            try await ada.settle()
            try await late.open()
            #expect(try await late.next("bye").number("code") == 1001)

            #expect(bye.number("code") == 1001)
            #expect(bye.string("reason") == "server stopped")
            #expect(ada.socket.closeCode == 1001)

            // The client only repeats the code: she has not left, she comes back elsewhere.
            try await ada.close(code: 1001)
            #expect(
                !chat.pubSub.published.contains {
                    if case .departed = $0 { true } else { false }
                })
        }
    }

    @Test func `a server that drains serves who is there until it is their turn`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()

            await chat.server.drain(over: .seconds(10)) { _ in
                // Before anybody's turn has come.
                guard ada.frames("bye").isEmpty else { return }
                ada.send(Sent.message(1))
                _ = try await ada.next("ack")
                let late = chat.client("late")
                try await late.open()
                #expect(try await late.next("bye").number("code") == 4001)
                try await bo.close(code: 1000)
            }

            let bye = try await ada.next("bye")
            try await ada.settle()
            #expect(bye.number("code") == 4001)
            #expect(bye.string("reason") == "draining")
            #expect(ada.socket.closeCode == 4001)
            #expect(bo.frames("bye").isEmpty, "who went by himself is not told to go")
            #expect(chat.server.isDraining)
        }
    }

    @Test func `messages on their way are answered before the server has stopped`() async throws {
        let store = MemoryMessageStore()
        let clock = ManualClock()
        let pubSub = PubSubHub().link()
        let server = TestChat.server(store: store, pubSub: pubSub, clock: clock)
        let ada = FakeClient(server, room: .lobby, credentials: Credentials(user: "ada"))

        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            try await ada.join()
            store.hold()
            ada.send(Sent.message(1))
            while store.heldCount < 1 { await Task.yield() }
            server.stop()
            _ = try await ada.next("bye")
            store.release()
            try await group.waitForAll()
        }

        try await ada.settle()
        #expect(store.messages(of: .lobby).count == 1)
        #expect(ada.frames("ack").count == 1)
    }

    @Test func `a socket that closes while its message is stored loses nothing`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            let bo = chat.client("bo")
            try await ada.join()
            try await bo.join()
            chat.store.hold()

            ada.send(Sent.message(1))
            while chat.store.heldCount < 1 { await Task.yield() }
            try await ada.close(code: nil)
            chat.store.release()

            #expect(try await bo.next("message").number("seq") == 1)
        }
    }

    @Test func `a session that is closed is given up`() async throws {
        try await TestChat.run { chat in
            weak var session: ChatSession?
            do {
                let ada = chat.client("ada")
                session = ada.session as? ChatSession
                try await ada.join()
                #expect(session != nil)
                try await ada.close(code: 1000)
                try await ada.settle()
            }

            #expect(session == nil)
        }
    }
}
