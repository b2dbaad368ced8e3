import FoundationEssentials
import NIOCore
import Postgres
import TestKit
import Testing

@testable import chatd

@Suite struct ClientFrameTests {
    static let id = "2b190304-9788-4dfb-be16-723cdcf6bb51"

    // MARK: Good frames

    @Test func `a message is read`() throws {
        let frame = try decode(
            #"{"type":"message","id":"2b190304-9788-4dfb-be16-723cdcf6bb51","#
                + #""sentAt":"2026-11-23T10:15:02.113Z","text":"hel\"lo \ud83d\ude00"}"#)

        #expect(
            frame
                == .message(
                    ClientMessage(
                        id: UUID(uuidString: Self.id)!,
                        sentAt: Timestamp(rfc3339: "2026-11-23T10:15:02.113Z")!,
                        text: "hel\"lo 😀")))
    }

    @Test func `fields may come in any order, twice, and beside unknown ones`() throws {
        let frame = try decode(
            #"{"x":{"type":[1]},"text":"a","sentAt":"2026-11-23T10:15:02Z","text":"b","#
                + #""id":"2B190304-9788-4DFB-BE16-723CDCF6BB51","type":"message","upTo":-1}"#)

        guard case .message(let message) = frame else { throw NotExpected(frame: frame) }
        #expect(message.text == "b")
        #expect(MessageID.text(of: message.id) == Self.id)
    }

    @Test func `a message with a receipt is an answer`() throws {
        let given =
            #"{"type":"message","id":"2b190304-9788-4dfb-be16-723cdcf6bb51","from":"bo","#
            + #""sentAt":"2026-11-23T10:15:02.113Z","receivedAt":"2026-11-23T10:15:03.000Z","#
            + #""text":"a","seq":7,"receipt":"abc","type":"message"}"#

        guard case .answer(let answer) = try decode(given) else {
            throw NotExpected(frame: try decode(given))
        }
        #expect(MessageID.text(of: answer.message.id) == Self.id)
        #expect(answer.author == "bo")
        #expect(answer.receivedAt == Timestamp(rfc3339: "2026-11-23T10:15:03Z"))
        #expect(answer.seq == 7)
        #expect(answer.receipt == "abc")
        let other = given.replacing(#""abc""#, with: #"{"deep":[]}"#)
        guard case .message = try decode(other) else {
            throw NotExpected(frame: try decode(other))
        }
    }

    @Test func `the founding heartbeat is read`() throws {
        let frame = try decode(#"{"amhere":true,"msgSeen":["\#(Self.id)"]}"#)

        #expect(
            frame == .heartbeat(Heartbeat(report: .ids([UUID(uuidString: Self.id)!], upTo: nil))))
    }

    @Test(
        arguments: [
            (#"{"amhere":true}"#, .nothing),
            (#"{"amhere":true,"msgSeen":null,"upTo":null}"#, .nothing),
            (#"{"amhere":true,"msgSeen":[]}"#, .ids([], upTo: nil)),
            (#"{"amhere":true,"upTo":4711}"#, .ids([], upTo: 4711)),
            (#"{"amhere":true,"msgSeen":[],"upTo":0}"#, .ids([], upTo: 0)),
            (#"{"amhere":true,"upTo":9223372036854775807}"#, .ids([], upTo: .max)),
            (
                #"{"amhere":true,"idle":false,"#
                    + #""seen":{"upTo":4711,"count":58,"digest":"9f3c2a7718d0e4b5"}}"#,
                .compact(upTo: 4711, count: 58, digest: 0x9f3c_2a77_18d0_e4b5)
            ),
            (#"{"amhere":true,"seen":{"upTo":1}}"#, .compact(upTo: 1, count: 0, digest: 0)),
        ] as [(String, Heartbeat.Report)])
    func `heartbeats are read`(json: String, report: Heartbeat.Report) throws {
        #expect(try decode(json) == .heartbeat(Heartbeat(report: report)))
    }

    @Test func `history is read, and its limit is bounded`() throws {
        let limits = ChatLimits()

        #expect(
            try decode(#"{"type":"history","before":4200,"limit":50}"#)
                == .history(HistoryRequest(before: 4200, after: nil, limit: 50, limits: limits)))
        #expect(
            try decode(#"{"type":"history","after":7}"#)
                == .history(HistoryRequest(before: nil, after: 7, limit: 50, limits: limits)))
        guard case .history(let request) = try decode(#"{"type":"history","limit":100000}"#) else {
            throw NotExpected(frame: nil)
        }
        #expect(request.limit == 500)
    }

    @Test func `a fresh token is read`() throws {
        #expect(try decode(#"{"type":"token","token":"a.b.c"}"#) == .token("a.b.c"))
    }

    @Test(arguments: ["null", "1", "{}", "[\"a.b.c\"]"])
    func `a token must be a string`(value: String) {
        #expect(throws: FrameError(.badFrame, field: "token", "must be a string")) {
            try decode("{\"type\":\"token\",\"token\":\(value)}")
        }
    }

    @Test func `typing is read`() throws {
        #expect(try decode(#"{"type":"typing"}"#) == .typing)
    }

    // MARK: Bad frames

    @Test(
        arguments: [
            ("", .badFrame, nil), ("hello", .badFrame, nil), ("[]", .badFrame, nil),
            ("{}", .badFrame, "type"), (#"{"type":1}"#, .badFrame, "type"),
            (#"{"type":"join"}"#, .unknownType, "type"), (#"{"type":""}"#, .unknownType, "type"),
            (#"{"amhere":false}"#, .badFrame, "amhere"), (#"{"amhere":1}"#, .badFrame, "amhere"),
            (#"{"amhere":true,"msgSeen":"a"}"#, .badFrame, "msgSeen"),
            (#"{"amhere":true,"msgSeen":["a"]}"#, .badFrame, "msgSeen[0]"),
            (#"{"amhere":true,"msgSeen":[null]}"#, .badFrame, "msgSeen[0]"),
            (#"{"amhere":true,"upTo":-1}"#, .badFrame, "upTo"),
            (#"{"amhere":true,"upTo":1.5}"#, .badFrame, "upTo"),
            (#"{"amhere":true,"upTo":9223372036854775808}"#, .badFrame, "upTo"),
            (#"{"amhere":true,"upTo":"1"}"#, .badFrame, "upTo"),
            (#"{"amhere":true,"seen":[]}"#, .badFrame, "seen"),
            (#"{"amhere":true,"seen":{}}"#, .badFrame, "seen.upTo"),
            (#"{"amhere":true,"seen":{"upTo":1,"count":-1}}"#, .badFrame, "seen.count"),
            (#"{"amhere":true,"seen":{"upTo":1,"digest":"12"}}"#, .badFrame, "seen.digest"),
            (
                #"{"amhere":true,"seen":{"upTo":1,"digest":"+f3c2a7718d0e4b5"}}"#, .badFrame,
                "seen.digest"
            ),
            (#"{"type":"history","before":-1}"#, .badFrame, "before"),
            (#"{"type":"history","after":"7"}"#, .badFrame, "after"),
            (#"{"type":"history","limit":0}"#, .badFrame, "limit"),
            (#"{"type":"history","limit":-9223372036854775808}"#, .badFrame, "limit"),
        ] as [(String, ErrorCode, String?)])
    func `a bad frame is refused with its field`(json: String, code: ErrorCode, field: String?) {
        let error = #expect(throws: FrameError.self) { try decode(json) }

        #expect(error?.code == code)
        #expect(error?.field == field)
        #expect(error?.id == nil)
    }

    @Test(
        arguments: [
            (["id": "null"], .badMessage, "id"), (["id": #""x""#], .badMessage, "id"),
            (["id": "7"], .badMessage, "id"),
            (["id": #""2b190304-9788-1dfb-be16-723cdcf6bb51""#], .badMessage, "id"),
            (["id": #""2b190304-9788-4dfb-7e16-723cdcf6bb51""#], .badMessage, "id"),
            (["id": #""2b190304-9788-4dfb-be16-723cdcf6bb5""#], .badMessage, "id"),
            (["id": #""2b190304-9788-4dfb-be16-723cdcf6bb511""#], .badMessage, "id"),
            (["id": #""2b190304297884dfbbe16-723cdcf6bb51aa""#], .badMessage, "id"),
            (["sentAt": "null"], .badMessage, "sentAt"), (["sentAt": "5"], .badMessage, "sentAt"),
            (["sentAt": #""yesterday""#], .badMessage, "sentAt"),
            (["sentAt": #""2026-11-23 10:15:02Z""#], .badMessage, "sentAt"),
            (["sentAt": #""2026-02-30T10:15:02Z""#], .badMessage, "sentAt"),
            (["sentAt": #""1969-12-31T23:59:59Z""#], .badMessage, "sentAt"),
            (["sentAt": #""0000-01-01T00:00:00+23:59""#], .badMessage, "sentAt"),
            (["text": "null"], .badMessage, "text"), (["text": "5"], .badMessage, "text"),
            (["text": #""""#], .badMessage, "text"),
            (["text": #""a\u0000b""#], .badMessage, "text"),
            (["text": #""\ud800""#], .badFrame, nil),
        ] as [([String: String], ErrorCode, String?)])
    func `a bad message is refused with its field`(
        changed: [String: String], code: ErrorCode, field: String?
    ) {
        let error = #expect(throws: FrameError.self) { try decode(message(changed)) }

        #expect(error?.code == code)
        #expect(error?.field == field)
        if field == "text" || field == "sentAt" {
            #expect(error?.id == UUID(uuidString: Self.id))
        }
    }

    @Test func `a text is measured in bytes`() throws {
        var limits = ChatLimits()
        limits.textBytes = 8

        _ = try decode(message(["text": #""éééé""#]), limits: limits)
        let error = #expect(throws: FrameError.self) {
            try decode(message(["text": #""ééééa""#]), limits: limits)
        }

        #expect(error?.code == .tooLong)
        #expect(error?.field == "text")
    }

    @Test func `a heartbeat lists a bounded number of ids`() throws {
        var limits = ChatLimits()
        limits.reportedIDs = 2
        func beat(_ count: Int) -> String {
            let ids = Array(repeating: "\"\(Self.id)\"", count: count).joined(separator: ",")
            return "{\"amhere\":true,\"msgSeen\":[\(ids)]}"
        }

        _ = try decode(beat(2), limits: limits)
        let error = #expect(throws: FrameError.self) { try decode(beat(3), limits: limits) }

        #expect(error?.code == .tooLong)
    }

    @Test func `words of refusals never repeat the input`() {
        let inputs = [
            #"{"type":"<script>"}"#, #"{"type":"message","id":"<script>"}"#, "<script>",
            message(["sentAt": #""<script>""#]), #"{"amhere":true,"msgSeen":["<script>"]}"#,
        ]

        for input in inputs {
            let error = #expect(throws: FrameError.self) { try decode(input) }
            #expect(error?.message.contains("script") == false)
        }
    }

    // MARK: Posted messages

    @Test func `a posted message needs no type`() throws {
        let message = try ClientMessage.decode(
            ByteBuffer(
                string: #"{"id":"\#(Self.id)","sentAt":"2026-11-23T10:15:02.113Z","text":"a"}"#),
            limits: ChatLimits())

        #expect(message.text == "a")
    }

    @Test func `nothing but a message can be posted`() {
        let error = #expect(throws: FrameError.self) {
            try ClientMessage.decode(
                ByteBuffer(string: #"{"type":"typing"}"#), limits: ChatLimits())
        }

        #expect(error?.code == .unknownType)
    }

    // MARK: Anything

    @Test(arguments: 0..<8)
    func `no bytes make the decoder trap`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array(#"{}[]",:\u0dDtrueamhereidtextmsgSeenupTo-+.eE0198 "#.utf8)
        let good = Array(message([:]).utf8)
        for _ in 0..<3_000 {
            var bytes: [UInt8]
            if Bool.random(using: &random) {
                bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                    Bool.random(using: &random)
                        ? UInt8.random(in: 0...255, using: &random)
                        : alphabet.randomElement(using: &random)!
                }
            } else {
                bytes = good
                let start = Int.random(in: 0..<bytes.count, using: &random)
                let end = Int.random(in: start...min(start + 9, bytes.count), using: &random)
                bytes.replaceSubrange(
                    start..<end,
                    with: (0..<Int.random(in: 0...4, using: &random)).map { _ in
                        UInt8.random(in: 0...255, using: &random)
                    })
            }
            _ = try? ClientFrame.decode(ByteBuffer(bytes: bytes), limits: ChatLimits())
            _ = try? ClientMessage.decode(ByteBuffer(bytes: bytes), limits: ChatLimits())
        }
    }

    // MARK: Helpers

    private struct NotExpected: Error { var frame: ClientFrame? }

    private func decode(_ json: String, limits: ChatLimits = ChatLimits()) throws -> ClientFrame {
        try ClientFrame.decode(ByteBuffer(string: json), limits: limits)
    }

    /// A message with some fields set to other JSON.
    private func message(_ changed: [String: String]) -> String {
        let fields = [
            "type": #""message""#, "id": "\"\(Self.id)\"",
            "sentAt": #""2026-11-23T10:15:02.113Z""#, "text": #""hello""#,
        ].merging(changed) { $1 }
        return "{" + fields.map { "\"\($0)\":\($1)" }.sorted().joined(separator: ",") + "}"
    }
}
