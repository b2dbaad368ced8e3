import Foundation
import NIOCore
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import chatd

@Suite struct ModerationFrameTests {
    static let id = "2b190304-9788-4dfb-be16-723cdcf6bb51"
    static let acts: [(String, Moderation)] = [
        (#""delete":"2B190304-9788-4dfb-be16-000000000001""#, .delete(.numbered(1))),
        (#""mute":"bo""#, .mute("bo", seconds: nil)),
        (#""mute":"bo","for":60"#, .mute("bo", seconds: 60)),
        (#""unmute":"bo""#, .unmute("bo")),
        (#""kick":"b\"o","for":null"#, .kick("b\"o", seconds: nil)),
        (#""kick":"bo","for":315360000"#, .kick("bo", seconds: 315_360_000)),
        (#""unbar":"bo""#, .unbar("bo")),
    ]

    private func frame(_ act: String) -> ByteBuffer {
        ByteBuffer(
            string:
                #"{"type":"moderate","id":"\#(Self.id)","sentAt":"2026-11-23T10:15:02Z",\#(act)}"#
        )
    }

    private func isDecoded(_ act: String) throws(FrameError) -> Moderation? {
        guard case .moderate(let order) = try ClientFrame.decode(frame(act), limits: ChatLimits())
        else { return nil }
        return order.act
    }

    @Test(arguments: acts)
    func `an act is read, and keeps its one form through the shard`(
        text: String, act: Moderation
    ) throws {
        #expect(try isDecoded(text) == act)
        let event = ModerationEvent(act, at: ManualClock().time)
        #expect(ModerationEvent(json: event.json, at: event.at) == event)
        #expect(
            try ModerationOrder.decode(frame(text), limits: ChatLimits()).act == act, "over HTTP")
    }

    @Test(arguments: [
        ("\"x\":1", "exactly one"), (#""mute":"a","kick":"a""#, "exactly one"),
        (#""delete":"bo""#, "delete: not the id"), (#""delete":7"#, "delete: not the id"),
        (#""mute":"""#, "mute: must not be empty"), (#""mute":{}"#, "mute: must be the name"),
        (#""kick":"a\u0000b""#, "kick: control"), (#""mute":"a","for":0"#, "for: must be"),
        (#""mute":"a","for":1.5"#, "for: must be"), (#""mute":"a","for":315360001"#, "for: must"),
        (#""unmute":"a","for":9"#, "for: goes with"),
    ])
    func `an act that contradicts itself is refused with its id`(act: String, words: String) {
        let error = #expect(throws: FrameError.self) { try isDecoded(act) }

        #expect(error?.code == .badMessage)
        #expect(error?.message.hasPrefix(words) == true || error?.message.contains(words) == true)
        #expect(error?.id == UUID(uuidString: Self.id))
    }

    @Test func `an event says what was done and until when`() throws {
        var message = Message.numbered(7, author: "mod", text: "")
        message.event = ModerationEvent(.mute("bo", seconds: 60), at: message.receivedAt).json

        let frame = try ReadFrame(
            ServerFrame.message(
                StoredMessage(message: message, seq: 9), receipt: "r", limits: ChatLimits()))

        #expect(frame.string("text") == "")
        #expect(frame.string("receipt") == "r")
        #expect(
            frame.fields["event"] as? NSDictionary == [
                "kind": "mute", "user": "bo", "for": 60, "until": "2026-11-23T10:16:02.113Z",
            ])
    }

    @Test func `a deleted message shows who and when, but not what`() throws {
        var message = Message.numbered(7, text: "se\"cret \\ ü")
        let whole = ServerFrame.message(
            StoredMessage(message: message, seq: 4), receipt: "r", limits: ChatLimits())
        message.text = ""
        let stored = ServerFrame.message(
            StoredMessage(message: message, seq: 4, deletedBy: 9), receipt: "r",
            limits: ChatLimits())

        let told = try ReadFrame(ServerFrame.emptied(whole, deletedBy: 9))

        #expect(told.fields as NSDictionary == (try ReadFrame(stored)).fields as NSDictionary)
        #expect(told.number("deletedBy") == 9)
        #expect(told.flag("deleted") == true)
        #expect(told.string("text") == "")
        #expect(told.string("receipt") == nil)
        let again = try ReadFrame(
            ServerFrame.emptied(
                ServerFrame.emptied(whole, deletedBy: 9), deletedBy: 12))
        #expect(again.number("deletedBy") == 12)
        let broken = ByteBuffer(string: "{7}")
        #expect(ServerFrame.emptied(broken, deletedBy: 1) == broken)
    }

    @Test func `an event that is given back is read as one`() throws {
        let text = #"""
            {"type":"message","id":"\#(Self.id)","from":"mod","sentAt":"2026-11-23T10:15:02.113Z",
            "text":"","seq":9,"receipt":"abc","event":{"kind":"kick","user":"bo"}}
            """#
        guard
            case .answer(let answer) = try ClientFrame.decode(
                ByteBuffer(string: text), limits: ChatLimits())
        else {
            Issue.record("it has a receipt")
            return
        }
        #expect(answer.event?.act == .kick("bo", seconds: nil))
        #expect(answer.message.text == "")
        for event in [
            #"{"kind":"crown","user":"bo"}"#, #"{"kind":"mute","user":"bo","for":9}"#, "7",
        ] {
            let other = text.replacing(#"{"kind":"kick","user":"bo"}"#, with: event)
            #expect(throws: FrameError.self) {
                try ClientFrame.decode(ByteBuffer(string: other), limits: ChatLimits())
            }
        }
    }

    @Test func `servers tell each other of events`() throws {
        let act = ModerationEvent(.kick("bo", seconds: 60), at: ManualClock().time)
        let event = RoomEvent.message(
            seq: 7, id: .numbered(1), author: "mod", frame: ByteBuffer(string: "{}"), event: act)

        guard
            case .message(7, .numbered(1), "mod", let frame, let told) =
                RoomEvent.decode(event.encoded())
        else {
            Issue.record("it is a message")
            return
        }
        #expect(told == act)
        #expect(frame == ByteBuffer(string: "{}"))
        for length in event.encoded().indices {
            _ = RoomEvent.decode(Array(event.encoded().prefix(length)))
        }
    }

    @Test func `a receipt of an event is good for nothing else`() throws {
        let ring = ReceiptKeyring([ReceiptKey(hexadecimal: vectorKey)!])
        var event = Message.numbered(1, text: "")
        event.event = ModerationEvent(.unmute("bo"), at: event.receivedAt).json
        let receipt = try #require(ring.receipt(for: event))

        #expect(ring.isGenuine(receipt, for: event))
        var (stripped, other, text) = (event, event, event)
        stripped.event = nil
        other.event = ModerationEvent(.unmute("cy"), at: event.receivedAt).json
        text.event = nil
        text.text = event.event!
        for forged in [stripped, other, text] {
            #expect(!ring.isGenuine(receipt, for: forged))
        }
    }
}
