import Foundation
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// Moderators and those whom they moderate, on servers without a network.
@Suite(.timeLimit(.minutes(1))) struct ChatServerModerationTests {
    private func act(_ number: Int, _ act: String) -> String {
        """
        {"type":"moderate","id":"\(MessageID.text(of: .numbered(number)))",\
        "sentAt":"2026-11-23T10:15:02.113Z",\(act)}
        """
    }

    private func id(_ number: Int) -> String { MessageID.text(of: .numbered(number)) }

    @Test func `hello tells what one may do`() async throws {
        try await TestChat.run(authenticator: OpenAuthenticator(rights: [.read, .write])) { chat in
            let hello = try await chat.client("ada").join().hello

            #expect(hello.strings("rights") == ["read", "write"])
        }
    }

    @Test func `who has no right to moderate is told so, and changes nothing`() async throws {
        try await TestChat.run(authenticator: OpenAuthenticator(rights: [.read, .write])) { chat in
            let ada = chat.client("ada")
            try await ada.join()

            ada.send(act(1, #""mute":"bo""#))
            let error = try await ada.next("error")

            #expect(error.string("code") == "forbidden")
            #expect(error.string("id") == id(1))
            #expect(chat.store.messages(of: .lobby).isEmpty)
        }
    }

    @Test func `a deletion reaches who is here, and who comes later sees no text`() async throws {
        let (store, hub, clock) = (MemoryMessageStore(), PubSubHub(), ManualClock())
        try await TestChat.run(store: store, hub: hub, clock: clock) { one in
            try await TestChat.run(store: store, hub: hub, clock: clock) { other in
                let (mod, bo) = (one.client("mod"), other.client("bo"))
                try await mod.join()
                try await bo.join()
                bo.send(Sent.message(1, text: "secret"))
                _ = try await mod.next("message")
                _ = try await bo.next("message")

                mod.send(act(2, "\"delete\":\"\(id(1))\""))
                let ack = try await mod.next("ack")
                let event = try await bo.next("message")

                #expect(ack.number("seq") == 2)
                #expect(event.number("seq") == 2)
                #expect(event.string("from") == "mod")
                #expect((event.fields["event"] as? [String: Any])?["id"] as? String == id(1))
                for chat in [one, other] {
                    let late = chat.client("late")
                    try await late.join()
                    late.send(Sent.beat(upTo: 0))
                    let messages = try await late.next("sync").messages
                    #expect(messages.map { $0.string("text") } == ["", ""])
                    #expect(messages.map { $0.number("deletedBy") } == [2, nil])
                }
                bo.send(Sent.message(1, text: "secret"))
                let again = try await bo.next("ack")
                #expect(again.number("seq") == 1)
                mod.send(act(2, "\"delete\":\"\(id(1))\""))
                #expect(try await mod.next("ack").number("seq") == 2)
                #expect(store.messages(of: .lobby).count == 2)
            }
        }
    }

    @Test func `what cannot be done is a bad message with its id`() async throws {
        try await TestChat.run { chat in
            let mod = chat.client("mod")
            try await mod.join()
            for act in [
                act(1, "\"delete\":\"\(id(7))\""), act(1, #""mute":"mod""#),
                act(1, #""kick":"mod""#),
            ] {
                mod.send(act)
                let error = try await mod.next("error")
                #expect(error.string("code") == "badMessage")
                #expect(error.string("id") == id(1))
            }
            #expect(chat.store.messages(of: .lobby).isEmpty)
            chat.store.fail(
                writes: .unavailable(
                    shard: ShardID(1), reason: "away", retryAfter: .seconds(1)))
            mod.send(act(1, #""mute":"bo""#))
            let error = try await mod.next("error")
            #expect(error.string("code") == "unavailable")
            #expect(error.flag("temporary") == true)
        }
    }

    @Test func `who is muted is refused until the end, on socket and over HTTP`() async throws {
        try await TestChat.run { chat in
            let (mod, bo) = (chat.client("mod"), chat.client("bo"))
            try await mod.join()
            try await bo.join()
            mod.send(act(1, #""mute":"bo","for":10"#))
            _ = try await bo.next("message")

            bo.send(Sent.message(2))
            let error = try await bo.next("error")
            #expect(error.string("code") == "forbidden")
            #expect(error.string("id") == id(2))
            #expect(error.number("retryAfter") == 10_000)
            #expect(error.string("message")?.hasPrefix("muted until ") == true)
            #expect(await chat.server.sanctions(of: .lobby).mutes["bo"] != nil)
            mod.send(Sent.message(3))
            _ = try await bo.next("message")

            chat.pass(.seconds(10))
            bo.send(Sent.message(2))
            #expect(try await bo.next("ack").number("seq") == 3)
        }
    }

    @Test func `who is muted gets the ack of what was stored before, and no other`()
        async throws
    {
        try await TestChat.run { chat in
            let (mod, bo) = (chat.client("mod"), chat.client("bo"))
            try await mod.join()
            try await bo.join()
            bo.send(Sent.message(1))
            #expect(try await bo.next("ack").number("seq") == 1)
            mod.send(act(2, #""mute":"bo""#))
            _ = try await bo.next("message")
            _ = try await bo.next("message")

            bo.send(Sent.message(1))
            #expect(try await bo.next("ack").number("seq") == 1)
            bo.send(Sent.message(1, text: "another"))
            #expect(try await bo.next("error").string("code") == "idConflict")
            bo.send(Sent.message(3))
            #expect(try await bo.next("error").string("code") == "forbidden")
            chat.store.fail(reads: .unavailable(shard: ShardID(1), reason: "away"))
            bo.send(Sent.message(1))
            #expect(try await bo.next("error").string("code") == "forbidden")
        }
    }

    @Test func `a server without the room asks the shard who is muted, now and then`()
        async throws
    {
        let (store, clock) = (MemoryMessageStore(), ManualClock())
        try await TestChat.run(store: store, clock: clock) { one in
            let order = ModerationOrder(
                id: .numbered(1), sentAt: clock.time, act: .mute("bo", seconds: nil))
            #expect(await one.server.sanctions(of: .lobby).mutes["bo"] == nil)
            try await TestChat.run(store: store, clock: clock) { other in
                _ = try await other.server.moderate(order, in: .lobby, by: "mod")
                #expect(
                    await other.server.sanctions(of: .lobby).mutes["bo"] != nil, "it knows at once")
            }
            #expect(await one.server.sanctions(of: .lobby).mutes["bo"] == nil, "read a moment ago")
            clock.advance(by: .seconds(3))
            #expect(await one.server.sanctions(of: .lobby).mutes["bo"] != nil)
            store.fail(reads: .unavailable(shard: ShardID(1), reason: "away"))
            clock.advance(by: .seconds(3))
            #expect(
                await one.server.sanctions(of: .lobby).mutes["bo"] != nil,
                "a shard that is away or slow lets nobody in")
        }
    }

    @Test func `a shard that is away is not asked for sanctions again at once, nor for long`()
        async throws
    {
        try await TestChat.run { chat in
            chat.store.fail(reads: .unavailable(shard: ShardID(1), reason: "away"))
            for _ in 1...3 {
                #expect(await chat.server.sanctions(of: .lobby) == Sanctions())
            }
            #expect(chat.store.sanctionReads == [.milliseconds(500)])
            chat.store.fail(reads: nil)
            chat.clock.advance(by: .seconds(1))
            _ = await chat.server.sanctions(of: .lobby)
            #expect(chat.store.sanctionReads.count == 2)
        }
    }

    @Test func `who is kicked is closed on all servers, and barred ones stay out`() async throws {
        let (store, hub, clock) = (MemoryMessageStore(), PubSubHub(), ManualClock())
        try await TestChat.run(store: store, hub: hub, clock: clock) { one in
            try await TestChat.run(store: store, hub: hub, clock: clock) { other in
                let mod = one.client("mod")
                let sockets = [one.client("bo"), one.client("bo"), other.client("bo")]
                try await mod.join()
                for socket in sockets { try await socket.join() }

                mod.send(act(1, #""kick":"bo","for":60"#))
                for socket in sockets {
                    _ = try await socket.next("message")
                    let bye = try await socket.next("bye")
                    #expect(bye.number("code") == 4403)
                    #expect(bye.string("reason")?.contains("sent out by a moderator") == true)
                    try await socket.settle()
                    #expect(socket.socket.closeCode == 4403)
                    try await socket.close(code: 4403)
                }

                let back = other.client("bo")
                try await back.open()
                #expect(try await back.next("bye").number("code") == 4403)
                #expect(back.frames("hello").isEmpty)
                clock.advance(by: .seconds(60))
                try await other.client("bo").join()
            }
        }
    }

    @Test func `the author of a deleted message gets no receipt for other words`() async throws {
        let receipts = ReceiptKeyring([
            ReceiptKey(hexadecimal: String(repeating: "0a", count: 32))!
        ])
        try await TestChat.run(receipts: receipts) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            ada.send(Sent.message(1, text: "first words"))
            let first = try await ada.next("ack")
            ada.send(Sent.message(1, text: "first words"))
            let again = try await ada.next("ack")
            ada.send(act(2, "\"delete\":\"\(id(1))\""))
            _ = try await ada.next("ack")

            ada.send(Sent.message(1, text: "other words"))
            let late = try await ada.next("ack")

            #expect(first.string("receipt") != nil)
            #expect(again.string("receipt") == first.string("receipt"))
            #expect(late.number("seq") == 1 && late.string("receipt") == nil)
        }
    }
}
