import Foundation
import NIOCore
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import chatd

@Suite struct ServerFrameTests {
    let limits = ChatLimits()

    // MARK: Strings

    @Test(arguments: [
        "", "hello", "\"\\/", "\n\r\t\u{8}\u{c}", "\u{0}\u{1}\u{1f}\u{7f}", "é😀\u{2028}\u{2029}",
        "</script>", "\\u0041", String(repeating: "\"", count: 5_000),
    ])
    func `a text survives another parser`(text: String) throws {
        let frame = try ReadFrame(ServerFrame.typing(from: text))

        #expect(frame.string("from")?.unicodeScalars.elementsEqual(text.unicodeScalars) == true)
    }

    @Test(arguments: 0..<4)
    func `random texts survive another parser`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<1_000 {
            var scalars = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 0...40, using: &random) {
                let range: ClosedRange<UInt32> =
                    Bool.random(using: &random) ? 0...0x7F : 0x80...0x10FFFF
                if let scalar = Unicode.Scalar(UInt32.random(in: range, using: &random)) {
                    scalars.append(scalar)
                }
            }
            let text = String(scalars)

            let read = try ReadFrame(ServerFrame.typing(from: text)).string("from")

            #expect(read?.unicodeScalars.elementsEqual(text.unicodeScalars) == true, "seed \(seed)")
        }
    }

    @Test func `what is written is read back by our own scanner`() throws {
        let text = "a\"\\\n\u{1}é😀"
        var json = JSONWriter()
        json.raw(#"{"type":"message","id":"#)
        json.id(.numbered(1))
        json.raw(#","sentAt":"2026-11-23T10:15:02.113Z","text":"#)
        json.string(text)
        json.raw("}")

        guard case .message(let message) = try ClientFrame.decode(json.buffer, limits: limits)
        else { throw CocoaError(.coderInvalidValue) }

        #expect(message.text == text)
    }

    // MARK: Frames

    @Test func `hello says what a client has to know`() throws {
        let frame = try ReadFrame(
            ServerFrame.hello(
                ServerFrame.Hello(
                    server: "chatd-a", room: .lobby, user: "ada", time: ManualClock().time,
                    head: 4711, isWarm: true, rights: [.read, .write]),
                limits: limits))

        #expect(
            frame.fields as NSDictionary == [
                "type": "hello", "protocol": 1, "server": "chatd-a", "room": "lobby",
                "user": "ada", "time": "2026-11-23T10:15:02.113Z", "head": 4711,
                "heartbeat": ["min": 3500, "max": 7000],
                "limits": ["textBytes": 16384, "frameBytes": 65536, "messagesPerSecond": 20],
                "reconnect": ["min": 200, "max": 5000], "warm": true,
                "rights": ["read", "write"],
            ] as NSDictionary)
    }

    @Test func `a message carries what the author and the shard said`() throws {
        let stored = StoredMessage(message: .numbered(7, text: "a\"b"), seq: 4712)

        let frame = try ReadFrame(ServerFrame.message(stored, limits: limits))

        #expect(
            frame.fields as NSDictionary == [
                "type": "message", "id": "2b190304-9788-4dfb-be16-000000000007", "from": "ada",
                "sentAt": "2026-11-23T10:15:02.113Z", "receivedAt": "2026-11-23T10:15:02.113Z",
                "text": "a\"b", "seq": 4712,
            ] as NSDictionary)
    }

    @Test(arguments: [(0, false), (300, false), (301, true), (-300, false), (-301, true)])
    func `a clock more than five minutes off is marked`(seconds: Int, isMarked: Bool) throws {
        var message = Message.numbered(1)
        message.sentAt = message.receivedAt.advanced(by: .seconds(seconds))

        let frame = try ReadFrame(
            ServerFrame.message(StoredMessage(message: message, seq: 1), limits: limits))

        #expect(frame.flag("skewed") == (isMarked ? true : nil))
    }

    @Test func `times at the end of the world do not trap`() {
        var message = Message.numbered(1)
        message.sentAt = Timestamp(microsecondsSince1970: .max)
        message.receivedAt = Timestamp(microsecondsSince1970: .min)

        #expect(ServerFrame.isSkewed(message, by: limits.clockSkew))
    }

    @Test func `small frames have their documented fields`() throws {
        let ack = try ReadFrame(ServerFrame.ack(id: .numbered(7), seq: 12))
        let presence = try ReadFrame(ServerFrame.presence(count: 2, joined: ["bo"], left: []))
        let bye = try ReadFrame(
            ServerFrame.bye(.stopped, "server stopped", reconnectAfter: .milliseconds(1830)))

        #expect(
            ack.fields as NSDictionary == [
                "type": "ack", "id": "2b190304-9788-4dfb-be16-000000000007", "level": "stored",
                "seq": 12,
            ] as NSDictionary)
        #expect(
            presence.fields as NSDictionary == [
                "type": "presence", "count": 2, "joined": ["bo"], "left": [String](),
            ] as NSDictionary)
        #expect(
            bye.fields as NSDictionary == [
                "type": "bye", "code": 1001, "reason": "server stopped", "reconnectAfter": 1830,
            ] as NSDictionary)
    }

    @Test func `errors carry what helps to act on them`() throws {
        let bad = try ReadFrame(
            ServerFrame.error(FrameError(.badMessage, field: "text", "must not be empty")))
        let rate = try ReadFrame(
            ServerFrame.error(
                .rateLimited, "too many", id: .numbered(1), retryAfter: .microseconds(399_500),
                isTemporary: true))

        #expect(
            bad.fields as NSDictionary == [
                "type": "error", "code": "badMessage", "message": "text: must not be empty",
                "temporary": false,
            ] as NSDictionary)
        #expect(rate.number("retryAfter") == 400)
        #expect(rate.string("id") == "2b190304-9788-4dfb-be16-000000000001")
        #expect(rate.flag("temporary") == true)
    }

    // MARK: Pages

    @Test func `a page keeps its order and says whether there is more`() throws {
        let messages = (1...3).map { StoredMessage(message: .numbered($0), seq: Int64($0)) }
        let page = HistoryPage(messages: messages, isComplete: true, head: 3)

        let frame = try ReadFrame(ServerFrame.history(page, keepingNewest: true, limits: limits))
        let body = try ReadFrame(
            ServerFrame.historyBody(page, keepingNewest: true, limits: limits))

        #expect(frame.type == "history")
        #expect(frame.messages.map { $0.number("seq") } == [1, 2, 3])
        #expect(frame.flag("complete") == true)
        #expect(Set(body.fields.keys) == ["messages", "complete"])
    }

    @Test(arguments: [(true, [4, 5]), (false, [1, 2])])
    func `a page too large for a frame is cut at its far end`(
        isNewest: Bool, seqs: [Int]
    ) throws {
        var limits = limits
        limits.pageBytes = 2_700
        let messages = (1...5).map {
            StoredMessage(
                message: .numbered($0, text: String(repeating: "x", count: 1_000)),
                seq: Int64($0))
        }
        let page = HistoryPage(messages: messages, isComplete: true, head: 5)

        let frame = try ReadFrame(
            ServerFrame.history(page, keepingNewest: isNewest, limits: limits))

        #expect(frame.messages.map { $0.number("seq") } == seqs)
        #expect(frame.flag("complete") == false)
    }

    @Test func `one message fits into any frame`() throws {
        var limits = limits
        limits.pageBytes = 10
        let page = HistoryPage(
            messages: [StoredMessage(message: .numbered(1), seq: 1)], isComplete: true, head: 1)

        let frame = try ReadFrame(ServerFrame.history(page, keepingNewest: true, limits: limits))

        #expect(frame.messages.count == 1)
        #expect(frame.flag("complete") == true)
    }
}
