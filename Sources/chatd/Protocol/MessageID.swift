import FoundationEssentials

/// How ids look on the wire: `2b190304-9788-4dfb-be16-723cdcf6bb51`.
///
/// Read in either case, written in lower case.
enum MessageID {
    /// Bytes of an id as text.
    static let textBytes = 36

    /// The id whose text is `bytes`, of any UUID version; nil when it is none.
    static func parse(_ bytes: some Sequence<UInt8>) -> UUID? {
        var upper: UInt64 = 0
        var lower: UInt64 = 0
        var digits = 0
        var position = 0
        for byte in bytes {
            guard position < textBytes else { return nil }
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
            } else {
                guard let digit = Hexadecimal.value(of: byte) else { return nil }
                if digits < 16 {
                    upper = upper << 4 | UInt64(digit)
                } else {
                    lower = lower << 4 | UInt64(digit)
                }
                digits += 1
            }
            position += 1
        }
        guard position == textBytes else { return nil }
        return UUID(upper: upper, lower: lower)
    }

    /// Whether `id` is drawn at random (version 4 of RFC 9562), as clients make them.
    static func isRandom(_ id: UUID) -> Bool {
        id.uuid.6 >> 4 == 4 && id.uuid.8 >> 6 == 0b10
    }

    /// The text in lower case.
    static func text(of id: UUID) -> String {
        String(unsafeUninitializedCapacity: textBytes) { buffer in
            var count = 0
            withUnsafeBytes(of: id.uuid) { bytes in
                for (index, byte) in bytes.enumerated() {
                    if index == 4 || index == 6 || index == 8 || index == 10 {
                        buffer[count] = UInt8(ascii: "-")
                        count += 1
                    }
                    buffer[count] = Hexadecimal.digit(byte >> 4)
                    buffer[count + 1] = Hexadecimal.digit(byte & 15)
                    count += 2
                }
            }
            return count
        }
    }
}

extension UUID {
    /// The id with these two halves, most significant first.
    init(upper: UInt64, lower: UInt64) {
        func byte(_ half: UInt64, _ index: UInt64) -> UInt8 {
            UInt8(truncatingIfNeeded: half >> (56 - 8 * index))
        }
        self.init(
            uuid: (
                byte(upper, 0), byte(upper, 1), byte(upper, 2), byte(upper, 3),
                byte(upper, 4), byte(upper, 5), byte(upper, 6), byte(upper, 7),
                byte(lower, 0), byte(lower, 1), byte(lower, 2), byte(lower, 3),
                byte(lower, 4), byte(lower, 5), byte(lower, 6), byte(lower, 7)
            ))
    }
}

/// Hexadecimal digits as bytes of text.
enum Hexadecimal {
    /// The value of a digit in either case; nil for anything else.
    static func value(of byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The lower-case digit of a value below 16.
    static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}
