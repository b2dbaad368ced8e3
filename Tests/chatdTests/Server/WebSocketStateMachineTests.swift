import NIOCore
import NIOWebSocket
import Testing

@testable import chatd

/// The rules of RFC 6455, one hand-made sequence of frames per claim.
@Suite struct WebSocketStateMachineTests {
    /// A claim, the frames, and what the last of them has to give.
    struct Case: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var frames: [WebSocketFrame]
        var result: Expectation

        init(_ claim: String, _ frames: [WebSocketFrame], _ result: Expectation) {
            testDescription = claim
            self.frames = frames
            self.result = result
        }
    }

    enum Expectation: Equatable {
        case text(String)
        case pong([UInt8])
        case finish(UInt16?)
        case fail(CloseCode)
        case other
    }

    private static let messages: [Case] = [
        Case("a whole text is delivered", [.client(.text, "hello")], .text("hello")),
        Case("an empty text is delivered", [.client(.text, "")], .text("")),
        Case(
            "fragments become one text",
            [
                .client(.text, "he", fin: false), .client(.continuation, "l", fin: false),
                .client(.continuation, "lo"),
            ], .text("hello")),
        Case(
            "empty fragments add nothing",
            [
                .client(.text, "", fin: false), .client(.continuation, "", fin: false),
                .client(.continuation, "x"),
            ], .text("x")),
        Case(
            "a ping between fragments is answered at once",
            [.client(.text, "he", fin: false), .client(.ping, [1, 2])], .pong([1, 2])),
        Case(
            "a ping between fragments does not disturb the text",
            [
                .client(.text, "he", fin: false), .client(.ping, [1, 2]),
                .client(.continuation, "llo"),
            ], .text("hello")),
        Case(
            "a character may be cut by a border",
            [.client(.text, [0xE2, 0x82], fin: false), .client(.continuation, [0xAC])],
            .text("€")),
        Case(
            "a text as large as allowed is delivered",
            [.client(.text, String(repeating: "x", count: 32))],
            .text(String(repeating: "x", count: 32))),
        Case(
            "a text over the limit is too big",
            [.client(.text, String(repeating: "x", count: 33))], .fail(.tooBig)),
        Case(
            "fragments that are together over the limit are too big",
            [
                .client(.text, String(repeating: "x", count: 30), fin: false),
                .client(.continuation, "xxx"),
            ], .fail(.tooBig)),
        Case(
            "more fragments than allowed are too big",
            [.client(.text, "", fin: false)]
                + Array(repeating: .client(.continuation, "", fin: false), count: 4),
            .fail(.tooBig)),
        Case("binary is not understood", [.client(.binary, [1])], .fail(.binary)),
        Case(
            "fragmented binary is not understood", [.client(.binary, [1], fin: false)],
            .fail(.binary)),
        Case(
            "a fragment needs a beginning", [.client(.continuation, "x")], .fail(.brokenFrame)),
        Case(
            "after a whole message a fragment needs a new beginning",
            [
                .client(.text, "a", fin: false), .client(.continuation, "b"),
                .client(.continuation, "c"),
            ], .fail(.brokenFrame)),
        Case(
            "a message may not begin inside another one",
            [.client(.text, "a", fin: false), .client(.text, "b")], .fail(.brokenFrame)),
    ]

    private static let encodings: [Case] = [
        Case("a byte that is never UTF-8", [.client(.text, [0x61, 0xFF])], .fail(.badText)),
        Case("a character without its end", [.client(.text, [0xE2, 0x82])], .fail(.badText)),
        Case("an overlong form", [.client(.text, [0xC0, 0xAF])], .fail(.badText)),
        Case("half of a surrogate pair", [.client(.text, [0xED, 0xA0, 0x80])], .fail(.badText)),
        Case(
            "beyond the last code point", [.client(.text, [0xF4, 0x90, 0x80, 0x80])],
            .fail(.badText)),
        Case(
            "bad over a border",
            [.client(.text, [0xE2, 0x82], fin: false), .client(.continuation, [0x61])],
            .fail(.badText)),
        Case("the last code point is good", [.client(.text, "\u{10FFFF}")], .text("\u{10FFFF}")),
    ]

    private static let headers: [Case] = [
        Case("an unmasked frame", [.server(.text, "x")], .fail(.brokenFrame)),
        Case("an unmasked ping", [.server(.ping, "x")], .fail(.brokenFrame)),
        Case(
            "reserved bit 1", [.client(.text, "x", rsv: (true, false, false))], .fail(.brokenFrame)),
        Case(
            "reserved bit 2", [.client(.text, "x", rsv: (false, true, false))], .fail(.brokenFrame)),
        Case(
            "reserved bit 3", [.client(.ping, "x", rsv: (false, false, true))], .fail(.brokenFrame)),
        Case(
            "a reserved bit on a later fragment",
            [
                .client(.text, "x", fin: false),
                .client(.continuation, "x", rsv: (true, false, false)),
            ], .fail(.brokenFrame)),
        Case(
            "an unmasked later fragment",
            [.client(.text, "x", fin: false), .server(.continuation, "x")], .fail(.brokenFrame)),
        Case("opcode 3", [.client(.unknownNonControl, "x")], .fail(.brokenFrame)),
        Case("opcode 11", [.client(.unknownControl, "x")], .fail(.brokenFrame)),
        Case("a ping in fragments", [.client(.ping, "x", fin: false)], .fail(.brokenFrame)),
        Case(
            "a ping of 126 bytes", [.client(.ping, String(repeating: "x", count: 126))],
            .fail(.brokenFrame)),
        Case(
            "a ping of 125 bytes", [.client(.ping, [UInt8](repeating: 7, count: 125))],
            .pong([UInt8](repeating: 7, count: 125))),
        Case("an empty ping", [.client(.ping, "")], .pong([])),
    ]

    private static let closes: [Case] = [
        Case("a close without a code", [.client(.connectionClose, "")], .finish(nil)),
        Case("a normal close", [.close(1000, "bye")], .finish(1000)),
        Case("a close of our own codes", [.close(4001, "")], .finish(4001)),
        Case("the last private code", [.close(4999, "")], .finish(4999)),
        Case(
            "a close between fragments", [.client(.text, "a", fin: false), .close(1001, "")],
            .finish(1001)),
        Case("half a code", [.client(.connectionClose, [3])], .fail(.brokenFrame)),
        Case("code 0", [.close(0, "")], .fail(.brokenFrame)),
        Case("code 999", [.close(999, "")], .fail(.brokenFrame)),
        Case("code 1004", [.close(1004, "")], .fail(.brokenFrame)),
        Case("code 1005 is never sent", [.close(1005, "")], .fail(.brokenFrame)),
        Case("code 1006 is never sent", [.close(1006, "")], .fail(.brokenFrame)),
        Case("code 1015 is never sent", [.close(1015, "")], .fail(.brokenFrame)),
        Case("code 2999", [.close(2999, "")], .fail(.brokenFrame)),
        Case("code 5000", [.close(5000, "")], .fail(.brokenFrame)),
        Case(
            "a reason that is not UTF-8", [.client(.connectionClose, [3, 232, 0xFF])],
            .fail(.badText)),
        Case("a text after the close is nothing", [.close(1000, ""), .client(.text, "x")], .other),
        Case("a second close is nothing", [.close(1000, ""), .close(1000, "")], .other),
        Case(
            "a text after a failure is nothing", [.client(.binary, "x"), .client(.text, "x")],
            .other),
        Case(
            "a close after a failure finishes", [.client(.binary, "x"), .close(1003, "")],
            .finish(1003)),
        Case(
            "a broken close after a failure finishes", [.client(.binary, "x"), .close(1, "")],
            .finish(nil)),
    ]

    @Test(arguments: messages + encodings + headers + closes)
    func `each frame gets what RFC 6455 says`(_ example: Case) {
        var machine = WebSocketStateMachine(messageBytes: 32, fragments: 4)

        var action = WebSocketStateMachine.Action.nothing
        for frame in example.frames { action = machine.received(frame) }

        #expect(Expectation(action) == example.result)
    }

    @Test func `the client's code is remembered`() {
        var machine = WebSocketStateMachine(messageBytes: 32, fragments: 4)
        #expect(machine.peerCode == nil)

        _ = machine.received(.close(4001, "moved"))

        #expect(machine.peerCode == 4001)
    }

    @Test func `a close without a code is as good as a normal one`() {
        var machine = WebSocketStateMachine(messageBytes: 32, fragments: 4)

        _ = machine.received(.client(.connectionClose, ""))

        #expect(machine.peerCode == 1000)
    }

    @Test func `round trips are measured with the last ping only`() {
        var pings = PingClock(interval: .seconds(5))
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

        let first = pings.next(at: start)
        #expect(first != nil)
        #expect(pings.next(at: start + .seconds(4)) == nil)
        let second = pings.next(at: start + .seconds(5))

        #expect(pings.returned(first ?? ByteBuffer(), at: start + .seconds(6)) == nil)
        #expect(pings.returned(second ?? ByteBuffer(), at: start + .seconds(7)) == .seconds(2))
        #expect(pings.returned(second ?? ByteBuffer(), at: start + .seconds(8)) == nil)
    }
}

extension WebSocketStateMachineTests.Expectation {
    init(_ action: WebSocketStateMachine.Action) {
        self =
            switch action {
            case .deliver(let text): .text(String(buffer: text))
            case .pong(let payload): .pong(Array(payload.readableBytesView))
            case .finish(let code): .finish(code)
            case .fail(let code, _): .fail(code)
            case .measure, .nothing: .other
            }
    }
}

extension WebSocketOpcode {
    static let unknownNonControl = WebSocketOpcode(encodedWebSocketOpcode: 3)!
    static let unknownControl = WebSocketOpcode(encodedWebSocketOpcode: 11)!
}

extension WebSocketFrame {
    /// As a client sends it: masked.
    static func client(
        _ opcode: WebSocketOpcode, _ payload: [UInt8], fin: Bool = true,
        rsv: (Bool, Bool, Bool) = (false, false, false)
    ) -> WebSocketFrame {
        let key: WebSocketMaskingKey = [0x11, 0x22, 0x33, 0x44]
        var data = ByteBuffer(bytes: payload)
        data.webSocketMask(key)
        return WebSocketFrame(
            fin: fin, rsv1: rsv.0, rsv2: rsv.1, rsv3: rsv.2, opcode: opcode, maskKey: key,
            data: data)
    }

    static func client(
        _ opcode: WebSocketOpcode, _ text: String, fin: Bool = true,
        rsv: (Bool, Bool, Bool) = (false, false, false)
    ) -> WebSocketFrame {
        client(opcode, Array(text.utf8), fin: fin, rsv: rsv)
    }

    /// As a server sends it: not masked.
    static func server(_ opcode: WebSocketOpcode, _ text: String) -> WebSocketFrame {
        WebSocketFrame(fin: true, opcode: opcode, data: ByteBuffer(string: text))
    }

    static func close(_ code: UInt16, _ reason: String) -> WebSocketFrame {
        client(
            .connectionClose, [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8))
    }
}
