/// Reads the JSON that libpg_query writes.
///
/// Knows no more than that needs: it trusts the form, and a statement of a megabyte, whose tree has
/// many, is read in a moment; a decoder for any JSON takes half a minute.
struct SyntaxTreeReader {
    private let bytes: [UInt8]
    private var index = 0

    static func tree(_ bytes: [UInt8]) -> SyntaxTree {
        var reader = SyntaxTreeReader(bytes: bytes)
        return reader.value()
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private var next: UInt8 {
        precondition(index < bytes.count, "the parser's answer is complete")
        return bytes[index]
    }

    private mutating func value() -> SyntaxTree {
        switch next {
        case UInt8(ascii: "{"): return object()
        case UInt8(ascii: "["): return list()
        case UInt8(ascii: "\""): return .text(text())
        case UInt8(ascii: "t"): return word("true", .flag(true))
        case UInt8(ascii: "f"): return word("false", .flag(false))
        case UInt8(ascii: "n"): return word("null", .nothing)
        default: return .number(number())
        }
    }

    private mutating func word(_ word: String, _ value: SyntaxTree) -> SyntaxTree {
        index += word.utf8.count
        return value
    }

    private mutating func object() -> SyntaxTree {
        var object: [String: SyntaxTree] = [:]
        index += 1
        while next != UInt8(ascii: "}") {
            if next == UInt8(ascii: ",") { index += 1 }
            let key = text()
            index += 1  // The colon.
            object[key] = value()
        }
        index += 1
        return .object(object)
    }

    private mutating func list() -> SyntaxTree {
        var list: [SyntaxTree] = []
        index += 1
        while next != UInt8(ascii: "]") {
            if next == UInt8(ascii: ",") { index += 1 }
            list.append(value())
        }
        index += 1
        return .list(list)
    }

    private mutating func number() -> Int {
        let start = index
        while index < bytes.count,
            bytes[index] == UInt8(ascii: "-")
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index])
        {
            index += 1
        }
        guard index > start, let number = Int(String(decoding: bytes[start..<index], as: UTF8.self))
        else { preconditionFailure("the parser writes whole numbers") }
        return number
    }

    private mutating func text() -> String {
        index += 1
        var text: [UInt8] = []
        while next != UInt8(ascii: "\"") {
            if next == UInt8(ascii: "\\") {
                index += 1
                escape(into: &text)
            } else {
                text.append(next)
                index += 1
            }
        }
        index += 1
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func escape(into text: inout [UInt8]) {
        let letter = next
        index += 1
        switch letter {
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "u"):
            precondition(index + 4 <= bytes.count, "the parser's answer is complete")
            let digits = String(decoding: bytes[index..<index + 4], as: UTF8.self)
            index += 4
            // Control characters alone are written so.
            if let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code) {
                text.append(contentsOf: Array(String(Character(scalar)).utf8))
            }
        default: text.append(letter)
        }
    }
}
