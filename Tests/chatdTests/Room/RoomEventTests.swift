import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

@Suite struct RoomEventTests {
    static let events: [RoomEvent] = [
        .message(
            seq: 4711, id: .numbered(1), author: "ada", frame: ByteBuffer(string: "{\"a\":1}")),
        .present([("ada", .milliseconds(1_500)), ("Bo 😀", .zero)], on: .numbered(2), head: 9),
        .present([], on: .numbered(2), head: 0),
        .departed(user: "ada", from: .numbered(2)), .typing(user: "ada"), .asked,
        .wanting([.numbered(1), .numbered(2)]),
        .counted(501, on: .numbered(2), head: 9),
    ]

    @Test(arguments: events)
    func `an event survives the way to another server`(event: RoomEvent) {
        #expect(RoomEvent.decode(event.encoded()) == event)
    }

    @Test func `the bytes are the ones that other servers expect`() {
        #expect(
            RoomEvent.departed(user: "é", from: .numbered(2)).encoded() == [
                1, 3, 0x2b, 0x19, 0x03, 0x04, 0x97, 0x88, 0x4d, 0xfb, 0xbe, 0x16, 0, 0, 0, 0, 0, 2,
                0, 2, 0xC3, 0xA9,
            ])
    }

    @Test(
        arguments: [
            [], [1], [2, 5], [1, 0], [1, 6], [1, 6, 1], [1, 7], [1, 8], [1, 255], [1, 4, 0],
            [1, 4, 0, 2, 65],
            [1, 4, 0, 1, 0xFF],
        ] as [[UInt8]])
    func `other versions, unknown kinds and broken events are ignored`(payload: [UInt8]) {
        #expect(RoomEvent.decode(payload) == nil)
    }

    @Test(arguments: [0, -1, .min, .max] as [Int64])
    func `a seq that no room has is not believed`(seq: Int64) {
        let event = RoomEvent.message(
            seq: seq, id: .numbered(1), author: "ada", frame: ByteBuffer(string: "{}"))

        #expect(RoomEvent.decode(event.encoded()) == nil)
    }

    @Test(arguments: 0..<4)
    func `no bytes make the decoder trap`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<5_000 {
            var payload = Self.events.randomElement(using: &random)!.encoded()
            for _ in 0..<Int.random(in: 1...4, using: &random) where !payload.isEmpty {
                let index = Int.random(in: 0..<payload.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: payload.removeSubrange(index...)
                case 1: payload[index] = UInt8.random(in: 0...255, using: &random)
                default: payload.insert(UInt8.random(in: 0...255, using: &random), at: index)
                }
            }
            _ = RoomEvent.decode(payload)
        }
    }
}
