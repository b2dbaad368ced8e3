import FoundationEssentials
import NIOCore
import Postgres

/// Appends JSON to a buffer: the frames that a server sends are written by hand, field by field,
/// because each is written once and read by a whole room.
struct JSONWriter {
    private(set) var buffer: ByteBuffer

    /// - Parameter capacity: bytes to reserve; a good guess spares copies.
    init(capacity: Int = 256) {
        buffer = ByteBufferAllocator().buffer(capacity: capacity)
    }

    /// Appends text that is JSON already, such as `{"type":"ack","id":`.
    mutating func raw(_ json: StaticString) {
        buffer.writeStaticString(json)
    }

    /// Appends JSON that was encoded before.
    mutating func raw(_ json: ByteBuffer) {
        buffer.writeImmutableBuffer(json)
    }

    mutating func integer(_ number: some BinaryInteger) {
        buffer.writeString(String(number))
    }

    mutating func boolean(_ isTrue: Bool) {
        raw(isTrue ? "true" : "false")
    }

    /// A duration in whole milliseconds, never negative.
    mutating func milliseconds(_ duration: Duration) {
        integer(duration.wholeMilliseconds)
    }

    mutating func id(_ id: UUID) {
        raw("\"")
        buffer.writeString(MessageID.text(of: id))
        raw("\"")
    }

    mutating func time(_ time: Timestamp) {
        raw("\"")
        buffer.writeString(time.rfc3339)
        raw("\"")
    }

    /// A JSON string. Quotes, backslashes and control characters are escaped, all else stays.
    mutating func string(_ text: String) {
        raw("\"")
        var text = text
        text.withUTF8 { bytes in
            var plain = 0
            for index in bytes.indices where JSONWriter.needsEscape(bytes[index]) {
                buffer.writeBytes(bytes[plain..<index])
                escape(bytes[index])
                plain = index + 1
            }
            buffer.writeBytes(bytes[plain...])
        }
        raw("\"")
    }

    /// A JSON array of strings.
    mutating func strings(_ texts: some Sequence<String>) {
        raw("[")
        var isFirst = true
        for text in texts {
            if !isFirst { raw(",") }
            isFirst = false
            string(text)
        }
        raw("]")
    }

    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == 0x7F
    }

    private mutating func escape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): raw("\\\"")
        case UInt8(ascii: "\\"): raw("\\\\")
        case UInt8(ascii: "\n"): raw("\\n")
        case UInt8(ascii: "\r"): raw("\\r")
        case UInt8(ascii: "\t"): raw("\\t")
        default:
            raw("\\u00")
            buffer.writeInteger(Hexadecimal.digit(byte >> 4))
            buffer.writeInteger(Hexadecimal.digit(byte & 15))
        }
    }
}

extension Duration {
    /// Whole milliseconds, rounded up so that a wait is never cut short; 0 for negative durations.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000)
        guard !overflow else { return .max }
        let rest = attoseconds / 1_000_000_000_000_000
        let isCut = attoseconds % 1_000_000_000_000_000 > 0
        let (sum, sumOverflow) = product.addingReportingOverflow(rest + (isCut ? 1 : 0))
        return sumOverflow ? .max : sum
    }
}

extension Timestamp {
    /// Since 1970; finer parts are cut, as in ``rfc3339``.
    var wholeMilliseconds: Int64 {
        let (quotient, rest) = microsecondsSince1970.quotientAndRemainder(dividingBy: 1_000)
        return rest < 0 ? quotient - 1 : quotient
    }
}
