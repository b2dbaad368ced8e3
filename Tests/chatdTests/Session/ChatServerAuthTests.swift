import FoundationEssentials
import NIOCore
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// Who may do what, and for how long, on one server with tokens.
@Suite(.timeLimit(.minutes(1))) struct ChatServerAuthTests {
    private struct Gate {
        var chat: TestChat
        var signer: TestSigner

        func token(
            _ user: String = "ada", _ rights: String = "\"read\",\"write\"", lasting: Int = 60,
            rooms: String? = nil
        ) throws -> String {
            try signer.token(
                TestSigner.claims(
                    sub: user, at: chat.clock.time, lasting: lasting,
                    rooms: rooms ?? "{\"lobby\":[\(rights)]}"))
        }
    }

    private func run(
        store: MemoryMessageStore = MemoryMessageStore(), _ body: (Gate) async throws -> Void
    ) async throws {
        let signer = try await TestSigner.make(.hs256)
        let keys = try TokenKeys([signer.key])
        let authenticator = TokenAuthenticator { TokenVerifier(keys: keys) }
        try await TestChat.run(store: store, authenticator: authenticator) { chat in
            try await body(Gate(chat: chat, signer: signer))
        }
    }

    // MARK: Coming in

    @Test func `the token names the user, the query does not`() async throws {
        try await run { gate in
            let credentials = Credentials(user: "eve", token: .one(try gate.token()))
            let ada = FakeClient(gate.chat.server, room: .lobby, credentials: credentials)

            #expect(try await ada.join().hello.string("user") == "ada")
        }
    }

    @Test func `who has no token, or none for this room, is told so and closed`() async throws {
        try await run { gate in
            let nobody = gate.chat.client("ada")
            let late = gate.chat.client(token: try gate.token(lasting: 0))
            let blind = gate.chat.client(token: try gate.token("bo", "\"write\",\"moderate\""))
            let elsewhere = gate.chat.client(token: try gate.token(), in: RoomID("other"))
            let roomless = gate.chat.client(token: try gate.token(rooms: "{}"))

            for client in [nobody, late, blind, elsewhere, roomless] { try await client.open() }

            #expect(nobody.socket.closeCode == 4401)
            #expect(late.socket.closeCode == 4401)
            #expect(blind.socket.closeCode == 4403)
            #expect(elsewhere.socket.closeCode == 4403)
            #expect(roomless.socket.closeCode == 4403)
            for (client, code) in [(nobody, 4401), (blind, 4403)] {
                #expect(client.socket.frames.map(\.type) == ["bye"])
                #expect(client.frames("bye").first?.number("code") == code)
                #expect(client.frames("bye").first?.string("reason")?.isEmpty == false)
                #expect(client.frames("bye").first?.number("reconnectAfter") == 200)
            }
        }
    }

    // MARK: Rights

    @Test func `who may only read is told so, and changes nothing`() async throws {
        let store = MemoryMessageStore()
        store.put(.numbered(1))
        try await run(store: store) { gate in
            let ada = gate.chat.client(token: try gate.token())
            let bo = gate.chat.client(token: try gate.token("bo", "\"read\""))
            try await ada.join()
            try await bo.join()

            bo.send(Sent.message(2))
            bo.send("{\"type\":\"typing\"}")
            bo.send("{\"type\":\"history\"}")

            let refusal = try await bo.next("error")
            #expect(refusal.string("code") == "forbidden")
            #expect(refusal.string("id") == MessageID.text(of: .numbered(2)))
            #expect(refusal.flag("temporary") == false)
            #expect(try await bo.next("error").string("code") == "forbidden")
            #expect(try await bo.next("history").messages.count == 1)
            ada.send(Sent.message(3))
            #expect(try await bo.next("message").number("seq") == 2)
            try await ada.settle()
            #expect(ada.frames("typing").isEmpty)
            #expect(bo.socket.closeCode == nil)
        }
    }

    @Test func `refusing too many frames ends the socket`() async throws {
        try await run { gate in
            let bo = gate.chat.client(token: try gate.token("bo", "\"read\""))
            try await bo.join()

            for number in 0..<1_300 { bo.send(Sent.message(number)) }
            _ = try await bo.next("bye")
            try await bo.settle()

            #expect(bo.socket.closeCode == 4429)
        }
    }

    // MARK: Time

    @Test func `a socket ends with its token`() async throws {
        try await run { gate in
            let ada = gate.chat.client(token: try gate.token(lasting: 3))
            let bo = gate.chat.client(token: try gate.token("bo"))
            try await ada.join()
            try await bo.join()

            gate.chat.pass(.milliseconds(1_900))
            try await ada.settle()
            #expect(ada.socket.closeCode == nil)
            gate.chat.pass(.milliseconds(2_200))

            #expect(try await ada.next("bye").number("code") == 4401)
            try await ada.settle()
            #expect(ada.socket.closeCode == 4401)
            #expect(bo.socket.closeCode == nil)
        }
    }

    /// What the protocol says.
    @Test func `sockets are looked after every two seconds`() {
        let room = ChatLimits().room

        #expect(room.tick * room.memberTicks == .seconds(2))
    }

    @Test func `no frame is done after the token's end, between two looks either`() async throws {
        let store = MemoryMessageStore()
        try await run(store: store) { gate in
            let ada = gate.chat.client(token: try gate.token(lasting: 3))
            try await ada.join()

            gate.chat.clock.advance(by: .milliseconds(3_001))
            ada.send(Sent.message(1))

            #expect(try await ada.next("bye").number("code") == 4401)
            #expect(ada.frames("ack").isEmpty)
        }
    }

    @Test func `a fresh token keeps the socket, with the rights that it has`() async throws {
        try await run { gate in
            let ada = gate.chat.client(token: try gate.token(lasting: 3))
            try await ada.join()

            ada.send(renewal(try gate.token("ada", "\"read\"", lasting: 30)))
            let answer = try await ada.next("token")
            gate.chat.pass(.seconds(20))
            try await ada.settle()

            let expiresAt = answer.string("expiresAt").flatMap { Timestamp(rfc3339: $0) }
            #expect(expiresAt.map { gate.chat.clock.time.duration(to: $0) < .seconds(11) } == true)
            #expect(ada.socket.closeCode == nil)
            ada.send(Sent.message(1))
            #expect(try await ada.next("error").string("code") == "forbidden")
            gate.chat.pass(.seconds(12))
            #expect(try await ada.next("bye").number("code") == 4401)
        }
    }

    @Test func `a token of somebody else, a bad one, and none are refused`() async throws {
        try await run { gate in
            let ada = gate.chat.client(token: try gate.token(lasting: 3))
            try await ada.join()

            ada.send(renewal(try gate.token("bo")))
            #expect(try await ada.next("error").string("code") == "forbidden")
            ada.send(renewal("a.b.c"))
            #expect(try await ada.next("error").string("code") == "forbidden")
            ada.send("{\"type\":\"token\"}")
            #expect(try await ada.next("error").string("code") == "badFrame")
            ada.send(Sent.message(1))
            _ = try await ada.next("ack")

            gate.chat.pass(.seconds(4))
            #expect(try await ada.next("bye").number("code") == 4401)
        }
    }

    @Test func `who tries many tokens loses the connection`() async throws {
        try await run { gate in
            let ada = gate.chat.client(token: try gate.token())
            try await ada.join()

            for _ in 0..<10 { ada.send(renewal("a.b.c")) }

            #expect(try await ada.next("bye").number("code") == 4429)
        }
    }

    @Test func `who may not read any more is shown out`() async throws {
        try await run { gate in
            let ada = gate.chat.client(token: try gate.token())
            try await ada.join()

            ada.send(renewal(try gate.token("ada", "\"write\"")))

            #expect(try await ada.next("bye").number("code") == 4403)
        }
    }

    @Test func `a server without tokens does not know the frame`() async throws {
        try await TestChat.run { chat in
            let ada = chat.client("ada")
            try await ada.join()

            ada.send(renewal("a.b.c"))

            #expect(try await ada.next("error").string("code") == "unknownType")
        }
    }

    private func renewal(_ token: String) -> String {
        "{\"type\":\"token\",\"token\":\"\(token)\"}"
    }
}
