import ShardRouter

/// The rule for names of rooms in the chat: 1–128 bytes of `A–Z a–z 0–9 . _ ~ : -`, the first one
/// a letter or a digit.
enum RoomName {
    /// Bytes of the longest name; it fits into a path and into a log line.
    static let bytesAtMost = 128

    /// The room called `text`, which must be percent-decoded already.
    static func parse(_ text: some StringProtocol) throws(FrameError) -> RoomID {
        let bytes = text.utf8
        guard let first = bytes.first else { throw refusal("must not be empty") }
        guard bytes.count <= bytesAtMost else {
            throw refusal("longer than \(bytesAtMost) bytes")
        }
        guard isAlphanumeric(first) else { throw refusal("must begin with a letter or a digit") }
        guard bytes.allSatisfy({ isAlphanumeric($0) || isPunctuation($0) }) else {
            throw refusal("only the letters A–Z and a–z, digits and . _ ~ : - are allowed")
        }
        return RoomID(String(text))
    }

    private static func refusal(_ reason: String) -> FrameError {
        FrameError(.badRoom, field: "room", reason)
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            true
        default:
            false
        }
    }

    private static func isPunctuation(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: ":"),
            UInt8(ascii: "-"):
            true
        default:
            false
        }
    }
}
