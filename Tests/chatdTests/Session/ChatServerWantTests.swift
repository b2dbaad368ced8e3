import Foundation
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// Lost messages that come back from clients.
@Suite(.timeLimit(.minutes(1))) struct ChatServerWantTests {
    private func ring(_ key: String = vectorKey) -> ReceiptKeyring {
        ReceiptKeyring([ReceiptKey(hexadecimal: key)!])
    }

    /// What a client has of a message.
    private func kept(_ frame: ReadFrame, _ changes: [String: Any] = [:]) throws -> String {
        let fields = frame.fields.merging(changes) { $1 }
        return String(decoding: try JSONSerialization.data(withJSONObject: fields), as: UTF8.self)
    }

    /// Lets a server store `count` messages of `ada`; answers them as clients have them.
    private func messages(
        _ count: Int, in store: MemoryMessageStore, _ receipts: ReceiptKeyring
    ) async throws -> [ReadFrame] {
        var frames: [ReadFrame] = []
        try await TestChat.run(store: store, receipts: receipts) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            for number in 1...count {
                ada.send(Sent.message(number, text: "text \(number)"))
                frames.append(try await ada.next("message"))
            }
        }
        return frames
    }

    @Test func `message, ack, sync and history carry the same receipt`() async throws {
        try await TestChat.run(receipts: ring()) { chat in
            let (ada, bo) = (chat.client("ada"), chat.client("bo"))
            try await ada.join()
            try await bo.join()
            ada.send(Sent.message(1))

            let ack = try #require(try await ada.next("ack").string("receipt"))
            #expect(ack.utf8.count == ReceiptKeyring.receiptBytes)
            #expect(try await bo.next("message").string("receipt") == ack)
            chat.pass(.seconds(3))
            bo.send(Sent.beat(seen: []))
            #expect(try await bo.next("sync").messages.first?.string("receipt") == ack)
            bo.send("{\"type\":\"history\"}")
            #expect(try await bo.next("history").messages.first?.string("receipt") == ack)
            ada.send(Sent.message(1))
            #expect(try await ada.next("ack").string("receipt") == ack)
        }
    }

    @Test func `a lost message comes back from a reader, with its author and number`()
        async throws
    {
        let (store, receipts) = (MemoryMessageStore(), ring())
        let frames = try await messages(3, in: store, receipts)
        store.lose(2...3, of: .lobby)

        try await TestChat.run(store: store, receipts: receipts) { chat in
            let bo = chat.client("bo")
            #expect(try await bo.join().hello.number("head") == 1)
            bo.send(Sent.beat(seen: [1, 2, 3]))
            let want = try await bo.next("want")
            #expect(
                want.strings("ids") == [2, 3].map { MessageID.text(of: .numbered($0)) })
            for frame in frames[1...] { bo.send(try kept(frame)) }

            for frame in frames[1...] {
                let back = try await bo.next("message")
                for field in ["id", "from", "text", "sentAt", "receivedAt", "receipt"] {
                    #expect(back.string(field) == frame.string(field))
                }
                #expect(back.number("seq") == frame.number("seq"))
            }
            #expect(store.messages(of: .lobby).map(\.message.author) == ["ada", "ada", "ada"])
            #expect(bo.frames("error").isEmpty)
            #expect(store.lookUps.count == 1)
        }
    }

    @Test func `what a quiet room has lost comes back by itself`() async throws {
        let receipts = ring()
        try await TestChat.run(receipts: receipts) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            var frames: [ReadFrame] = []
            for number in 1...3 {
                ada.send(Sent.message(number, text: "text \(number)"))
                frames.append(try await ada.next("message"))
            }
            chat.store.lose(2...3, of: .lobby)
            func question(_ count: Int) async throws -> ReadFrame? {
                for _ in 0..<5_000 where ada.frames("want").count < count {
                    chat.pass(.milliseconds(500))
                    ada.send("{\"amhere\":true,\"seen\":{\"upTo\":3}}")
                    try await ada.settle()
                    await Task.yield()
                }
                return ada.frames("want").last
            }

            #expect(try await question(1)?.strings("ids") == [])
            ada.send(Sent.beat(seen: [1, 2, 3]))
            let wanted = try await question(2)?.strings("ids")
            #expect(wanted == [2, 3].map { MessageID.text(of: .numbered($0)) })
            for frame in frames[1...] { ada.send(try kept(frame)) }
            for _ in frames[1...] { _ = try await ada.next("message") }

            #expect(chat.store.messages(of: .lobby).map(\.seq) == [1, 2, 3])
        }
    }

    @Test func `a hole below the head gets its message back under the old number`() async throws {
        let (store, receipts) = (MemoryMessageStore(), ring())
        let frames = try await messages(3, in: store, receipts)
        store.lose(2...2, of: .lobby)

        try await TestChat.run(store: store, receipts: receipts) { chat in
            let bo = chat.client("bo")
            try await bo.join()
            bo.send(Sent.beat(seen: [1, 2, 3]))
            _ = try await bo.next("want")
            bo.send(try kept(frames[1]))
            _ = try await bo.next("message")

            #expect(store.messages(of: .lobby).map(\.seq) == [1, 2, 3])
        }
    }

    @Test func `a number that was given away is not taken back`() async throws {
        let (store, receipts) = (MemoryMessageStore(), ring())
        let frames = try await messages(2, in: store, receipts)
        store.lose(2...2, of: .lobby)
        store.put(.numbered(9, author: "cy"))

        try await TestChat.run(store: store, receipts: receipts) { chat in
            let bo = chat.client("bo")
            try await bo.join()
            // As a client says it that has met number 2 twice.
            bo.send(
                "{\"amhere\":true,\"seen\":{\"upTo\":2,\"count\":1,\"digest\":\"00000000000000ff\"}}"
            )
            let question = try await bo.next("want")
            #expect(question.strings("ids") == [])
            #expect(question.number("above") == 0)
            bo.send(
                "{\"amhere\":true,\"upTo\":2,\"msgSeen\":[\"\(MessageID.text(of: .numbered(2)))\"]}"
            )
            _ = try await bo.next("want")
            bo.send(try kept(frames[1]))

            #expect(try await bo.next("message").number("seq") == 3)
            #expect(store.messages(of: .lobby).map(\.message.id).last == .numbered(2))
        }
    }

    @Test func `a compact report above the shard's head leads to the same`() async throws {
        let (store, receipts) = (MemoryMessageStore(), ring())
        let frames = try await messages(3, in: store, receipts)
        store.lose(3...3, of: .lobby)

        try await TestChat.run(store: store, receipts: receipts) { chat in
            let bo = chat.client("bo")
            try await bo.join()
            bo.send("{\"amhere\":true,\"seen\":{\"upTo\":3}}")
            chat.pass(.seconds(1))
            let question = try await bo.next("want")
            #expect(question.number("above") == 0)
            bo.send(
                "{\"amhere\":true,\"upTo\":2,\"msgSeen\":[\"\(MessageID.text(of: .numbered(3)))\"]}"
            )
            _ = try await bo.next("want")
            bo.send(try kept(frames[2]))
            #expect(try await bo.next("message").number("seq") == 3)
        }
    }

    @Test func `what nobody asked for, and what nobody signed, is refused`() async throws {
        let (store, receipts) = (MemoryMessageStore(), ring())
        let frames = try await messages(2, in: store, receipts)
        let foreign = try await messages(2, in: MemoryMessageStore(), ring(otherKey))
        store.lose(1...2, of: .lobby)

        try await TestChat.run(store: store, receipts: receipts) { chat in
            let (bo, cy) = (chat.client("bo"), chat.client("cy"))
            try await bo.join()
            try await cy.join()
            bo.send(try kept(frames[0]))
            #expect(try await bo.next("error").string("code") == "forbidden")

            bo.send(Sent.beat(seen: [1]))
            _ = try await bo.next("want")
            cy.send(try kept(frames[0]))
            #expect(try await cy.next("error").string("code") == "forbidden")
            bo.send(try kept(frames[0], ["from": "bo"]))
            #expect(try await bo.next("error").string("code") == "forbidden")
            #expect(store.messages(of: .lobby).isEmpty)

            // The forger is passed over; the next one is asked.
            cy.send(Sent.beat(seen: [1, 2]))
            chat.pass(.seconds(4))
            #expect(try await cy.next("want").strings("ids")?.count == 2)
            cy.send(try kept(frames[0]))
            _ = try await cy.next("message")
            cy.send(try kept(foreign[1]))
            #expect(try await cy.next("error").string("code") == "forbidden")
            #expect(store.messages(of: .lobby).map(\.message.id) == [.numbered(1)])
        }
    }

    @Test func `without a key nobody is asked, and messages have no receipt`() async throws {
        let store = MemoryMessageStore()
        let frames = try await messages(2, in: store, ReceiptKeyring())
        #expect(frames[0].string("receipt") == nil)
        store.lose(2...2, of: .lobby)

        try await TestChat.run(store: store) { chat in
            let bo = chat.client("bo")
            try await bo.join()
            bo.send(Sent.beat(seen: [1, 2]))
            bo.send("{\"amhere\":true,\"seen\":{\"upTo\":9}}")
            chat.pass(.seconds(10))
            bo.send(Sent.message(3))
            _ = try await bo.next("message")
            #expect(bo.frames("want").isEmpty)
            #expect(store.lookUps.isEmpty)
        }
    }

    @Test func `ids that the shard has and the window has dropped are not asked for`()
        async throws
    {
        let store = MemoryMessageStore()
        for number in 1...400 { store.put(.numbered(number)) }

        try await TestChat.run(store: store, receipts: ring()) { chat in
            let bo = chat.client("bo")
            try await bo.join()
            bo.send(Sent.beat(seen: Array(1...100)))
            bo.send(Sent.beat(seen: Array(1...200)))
            bo.send("{\"type\":\"history\",\"limit\":1}")
            _ = try await bo.next("history")
            chat.pass(.seconds(8))
            bo.send("{\"type\":\"history\",\"limit\":1}")
            _ = try await bo.next("history")

            #expect(bo.frames("want").isEmpty)
            #expect(store.lookUps.count <= 2)
        }
    }

    @Test func `a shard that gives numbers a second time is believed`() async throws {
        let (store, receipts) = (MemoryMessageStore(), ring())
        try await TestChat.run(store: store, receipts: receipts) { chat in
            let (ada, bo) = (chat.client("ada"), chat.client("bo"))
            try await ada.join()
            try await bo.join()
            var frames: [ReadFrame] = []
            for number in 1...3 {
                ada.send(Sent.message(number))
                frames.append(try await bo.next("message"))
            }
            store.lose(2...3, of: .lobby)

            ada.send(Sent.message(4))

            let other = try await bo.next("message")
            #expect(other.number("seq") == 2)
            #expect(other.string("id") == MessageID.text(of: .numbered(4)))
            bo.send(Sent.beat(seen: [1, 2, 3, 4]))
            #expect(try await bo.next("want").strings("ids")?.count == 2)
            for frame in frames[1...] { bo.send(try kept(frame)) }
            #expect(try await bo.next("message").number("seq") == 3)
            #expect(try await bo.next("message").number("seq") == 4)
            #expect(
                store.messages(of: .lobby).map(\.message.id)
                    == [1, 4, 2, 3].map { .numbered($0) })
        }
    }
}
