import FoundationEssentials
import NIOCore
import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

@testable import chatd

extension RoomID {
    fileprivate static let tower = RoomID("tower")
}

/// Many rooms on one socket.
@Suite(.timeLimit(.minutes(1))) struct RoomsSessionTests {
    @Test func `every frame of a joined room names it, once`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()

            let hello = try await ada.join(.lobby)
            ada.send(Sent.inRoom(Sent.message(1), .lobby))
            let ack = try await ada.next("ack")

            #expect(hello.string("room") == "lobby" && hello.string("user") == "ada")
            #expect(ack.string("room") == "lobby" && ack.number("seq") == 1)
            #expect(ada.socket.frames.allSatisfy { $0.string("room") == "lobby" })
        }
    }

    @Test func `rooms keep their messages apart, and meet sockets of one room`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            let bo = chat.client("bo", in: .tower)
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)
            try await bo.join()

            bo.send(Sent.message(1, text: "from the tower"))
            let heard = try await ada.next("message")
            ada.send(Sent.inRoom(Sent.message(2, text: "to the tower"), .tower))
            let answer = try await bo.next("message")

            #expect(heard.string("room") == "tower" && heard.string("from") == "bo")
            // One's own message may come first.
            let texts = [answer, try await bo.next("message")].map { $0.string("text") }
            #expect(texts.contains("to the tower"))
            #expect(bo.socket.frames.allSatisfy { $0.type == "hello" || $0.string("room") == nil })
        }
    }

    @Test func `a frame without a room, or of one not joined, is a bad one`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()

            ada.send(Sent.message(1))
            let roomless = try await ada.next("error")
            ada.send(Sent.inRoom(Sent.message(2), .tower))
            let stranger = try await ada.next("error")
            ada.send("{\"type\":\"join\",\"room\":\"-\"}")
            let misnamed = try await ada.next("error")
            ada.send("nonsense")
            let broken = try await ada.next("error")

            #expect(roomless.string("code") == "badRoom")
            #expect(roomless.string("id") == MessageID.text(of: .numbered(1)))
            #expect(stranger.string("code") == "badRoom" && stranger.string("room") == "tower")
            #expect(misnamed.string("code") == "badRoom" && broken.string("code") == "badFrame")
            for _ in 0..<6 { ada.send("nonsense") }
            #expect(try await ada.next("bye").number("code") == 4429)
        }
    }

    @Test func `who leaves a room hears no more of it, and is gone for the others`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            let bo = chat.client("bo")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)
            try await bo.join()

            ada.send(Sent.inRoom("{\"type\":\"leave\"}", .lobby))
            let bye = try await ada.next("bye")
            bo.send(Sent.message(1))
            _ = try await bo.next("ack")
            try await ada.settle()
            chat.pass(.seconds(4))

            #expect(bye.number("code") == 1000 && bye.string("room") == "lobby")
            #expect(ada.frames("message").isEmpty)
            #expect(ada.socket.closeCode == nil)
            #expect(try await bo.next("presence").strings("left") == ["ada"])
            try await ada.join(.lobby)
        }
    }

    @Test func `a room cannot be joined twice, nor more rooms than are allowed`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)

            ada.send("{\"type\":\"join\",\"room\":\"lobby\"}")
            let again = try await ada.next("error")

            #expect(again.string("message") == "room: joined already")
        }
        var limits = ChatLimits()
        limits.session.joinsPerSecond = 10
        limits.session.roomsPerSocket = 2
        try await TestChat.run(limits: limits) { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)

            ada.send("{\"type\":\"join\",\"room\":\"third\"}")
            let hasty = try await ada.next("error")
            chat.clock.advance(by: .seconds(1))
            ada.send("{\"type\":\"join\",\"room\":\"third\"}")
            let surplus = try await ada.next("error")

            #expect(hasty.string("code") == "rateLimited" && hasty.number("retryAfter") == 100)
            #expect(surplus.string("code") == "badRoom")
            #expect(surplus.string("message")?.contains("at most 2 rooms") == true)
        }
    }

    @Test func `a socket may send so many messages, in however many rooms`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)

            for number in 1...21 {
                ada.send(Sent.inRoom(Sent.message(number), number % 2 == 0 ? .lobby : .tower))
            }
            let refusal = try await ada.next("error")

            #expect(refusal.string("code") == "rateLimited")
            #expect(refusal.string("id") == MessageID.text(of: .numbered(21)))
        }
    }

    @Test func `a room without a beat is left, a socket without any is closed`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)

            for _ in 0..<7 {
                chat.pass(.seconds(5))
                ada.send(Sent.inRoom(Sent.beat(upTo: 0), .tower))
                try await ada.settle()
            }
            let bye = try await ada.next("bye")

            #expect(bye.number("code") == 4003 && bye.string("room") == "lobby")
            #expect(ada.socket.closeCode == nil)
            chat.pass(.seconds(31))
            try await ada.settle()
            #expect(ada.socket.closeCode == 4003)
        }
    }

    @Test func `a socket in no room lives by its own beats`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()

            for _ in 0..<10 {
                chat.pass(.seconds(5))
                ada.send("{\"amhere\":true}")
                try await ada.settle()
            }

            #expect(ada.socket.closeCode == nil && ada.socket.frames.isEmpty)
            chat.pass(.seconds(31))
            #expect(try await ada.next("bye").number("code") == 4003)
            try await ada.settle()
            #expect(ada.socket.closeCode == 4003)
        }
    }

    @Test func `closing the socket leaves all rooms`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            let bo = chat.client("bo")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)
            try await bo.join()

            try await ada.close(code: 1000)
            chat.pass(.seconds(4))

            #expect(try await bo.next("presence").strings("left") == ["ada"])
            #expect(chat.server.roomsSessions.all.isEmpty)
            #expect(chat.server.directory.existing(.tower)?.allMembers.isEmpty == true)
        }
    }

    @Test func `a server that stops says so once, with rooms or without`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            let bo = chat.roomsClient("bo")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)
            try await bo.open()

            chat.server.stop()

            for client in [ada, bo] {
                let bye = try await client.next("bye")
                #expect(bye.number("code") == 1001 && bye.string("room") == nil)
                try await client.settle()
                #expect(client.frames("bye").count == 1 && client.socket.closeCode == 1001)
            }
            let late = chat.roomsClient("cy")
            try await late.open()
            #expect(try await late.next("bye").number("code") == 1001)
        }
    }

    @Test func `bad frames of all rooms of a socket count together`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)

            for number in 1...10 {
                ada.send(
                    Sent.inRoom("{\"type\":\"message\"}", number % 2 == 0 ? .lobby : .tower))
            }
            let bye = try await ada.next("bye")

            #expect(bye.number("code") == 4429 && bye.string("room") == nil)
        }
    }

    @Test func `pages of all rooms of a socket are bounded together`() async throws {
        let store = MemoryMessageStore()
        try await TestChat.run(store: store) { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)
            let page = "{\"type\":\"history\"}"

            store.hold()
            for room in [RoomID.lobby, .tower, .lobby] { ada.send(Sent.inRoom(page, room)) }
            let refusal = try await ada.next("error")
            store.release()

            #expect(refusal.string("code") == "overloaded")
            _ = try await ada.next("history")
            _ = try await ada.next("history")
            ada.send(Sent.inRoom(page, .tower))
            _ = try await ada.next("history")
        }
    }

    @Test func `a page for a room that was left does not come into it again`() async throws {
        let store = MemoryMessageStore()
        try await TestChat.run(store: store) { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            try await ada.join(.lobby)

            store.hold()
            ada.send(Sent.inRoom("{\"type\":\"history\",\"limit\":7}", .lobby))
            ada.send(Sent.inRoom("{\"type\":\"leave\"}", .lobby))
            _ = try await ada.next("bye")
            try await ada.join(.lobby)
            store.release()
            ada.send(Sent.inRoom("{\"type\":\"history\"}", .lobby))
            _ = try await ada.next("history")
            ada.send(Sent.inRoom("{\"type\":\"history\"}", .lobby))
            _ = try await ada.next("history")

            #expect(ada.frames("history").count == 2)
        }
    }

    @Test func `a drain counts a socket with many rooms once`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            try await ada.open()
            for number in 0..<20 { try await ada.join(RoomID("room-\(number)")) }
            let bo = chat.client("bo")
            try await bo.join()
            let waits = Mutex(0)

            await chat.server.drain(over: .seconds(10), sleep: { _ in waits.withLock { $0 += 1 } })

            for client in [ada, bo] { #expect(try await client.next("bye").number("code") == 4001) }
            #expect(waits.withLock { $0 } == 1, "both go in one slice")
            #expect(ada.frames("bye").count == 1)
        }
    }

    @Test func `a drain sends sockets with many rooms away, too`() async throws {
        try await TestChat.run { chat in
            let ada = chat.roomsClient("ada")
            let bo = chat.roomsClient("bo")
            try await ada.open()
            try await ada.join(.lobby)
            try await bo.open()

            await chat.server.drain(over: .seconds(1), sleep: { _ in })

            #expect(try await ada.next("bye").number("code") == 4001)
            #expect(try await bo.next("bye").number("code") == 4001)
        }
    }

    @Test func `a fresh token counts for all rooms, and takes those it does not name`() async throws
    {
        let signer = try await TestSigner.make(.hs256)
        let keys = try TokenKeys([signer.key])
        let authenticator = TokenAuthenticator { TokenVerifier(keys: keys) }
        try await TestChat.run(authenticator: authenticator) { chat in
            func token(_ rooms: String, lasting: Int) throws -> String {
                try signer.token(
                    TestSigner.claims(
                        sub: "ada", at: chat.clock.time, lasting: lasting, rooms: rooms))
            }
            let ada = FakeClient(
                chat.server, room: nil,
                credentials: Credentials(
                    token: .one(
                        try token(
                            "{\"lobby\":[\"read\",\"write\"],\"tower\":[\"read\"]}", lasting: 8))))
            try await ada.open()
            try await ada.join(.lobby)
            try await ada.join(.tower)
            ada.send("{\"type\":\"join\",\"room\":\"cellar\"}")
            let refused = try await ada.next("bye")

            chat.pass(.seconds(5))
            let fresh = try token("{\"lobby\":[\"read\"]}", lasting: 15)
            ada.send("{\"type\":\"token\",\"token\":\"\(fresh)\"}")
            _ = try await ada.next("token")
            let lost = try await ada.next("bye")
            ada.send(Sent.inRoom(Sent.message(1), .lobby))
            let readOnly = try await ada.next("error")

            #expect(refused.number("code") == 4403 && refused.string("room") == "cellar")
            #expect(lost.number("code") == 4403 && lost.string("room") == "tower")
            #expect(readOnly.string("code") == "forbidden")
            chat.pass(.seconds(10))
            #expect(ada.socket.closeCode == nil)
            chat.pass(.seconds(6))
            try await ada.settle()
            #expect(ada.socket.closeCode == 4401)
        }
    }
}
