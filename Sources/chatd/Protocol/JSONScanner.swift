/// A value in a JSON text: what it is, and which bytes it takes.
struct JSONValue: Equatable {
    enum Kind: Equatable {
        case object, array, string, number, boolean(Bool), null
    }
    var kind: Kind
    /// Positions in the text; a string's quotes are included.
    var range: Range<Int>
}

/// Why a text is not JSON, or not the JSON that was expected.
struct JSONError: Error, Equatable {
    var reason: String
    /// Bytes before the place.
    var position: Int
}

/// Reads JSON (RFC 8259) from bytes that somebody else sent.
///
/// Nothing is copied until a value is asked for, nesting is bounded, and no input can make it trap:
/// bytes are only read by ``peek()`` and by slices of ranges that it has passed. Stricter than many
/// readers in one thing: an escaped surrogate must have its partner.
struct JSONScanner {
    /// Objects and arrays within each other; the protocol needs two.
    static let depthAtMost = 32

    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var depth = 0

    /// - Parameter bytes: must outlive the scanner.
    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Reads the whole text, which must be one object, and hands over its members in their order.
    mutating func readObject(
        _ member: (_ key: JSONValue, _ value: JSONValue) throws(JSONError) -> Void
    ) throws(JSONError) {
        skipSpace()
        guard peek() == UInt8(ascii: "{") else { throw error("not a JSON object") }
        try object(member)
        skipSpace()
        guard peek() == nil else { throw error("something follows the JSON object") }
    }

    /// Hands over the members of `object`, a value that this text holds.
    func members(
        of object: JSONValue,
        _ member: (_ key: JSONValue, _ value: JSONValue) throws(JSONError) -> Void
    ) throws(JSONError) {
        precondition(object.kind == .object, "only objects have members")
        var scanner = JSONScanner(bytes)
        scanner.position = object.range.lowerBound
        try scanner.object(member)
    }

    /// Hands over the elements of `array`, a value that this text holds.
    func elements(
        of array: JSONValue, _ element: (JSONValue) throws(JSONError) -> Void
    ) throws(JSONError) {
        precondition(array.kind == .array, "only arrays have elements")
        var scanner = JSONScanner(bytes)
        scanner.position = array.range.lowerBound
        try scanner.array(element)
    }

    // MARK: Grammar

    private mutating func value() throws(JSONError) -> JSONValue {
        let start = position
        guard let first = peek() else { throw error("the JSON ends too early") }
        let kind: JSONValue.Kind
        switch first {
        case UInt8(ascii: "{"):
            try object { _, _ in }
            kind = .object
        case UInt8(ascii: "["):
            try array { _ in }
            kind = .array
        case UInt8(ascii: "\""):
            try string()
            kind = .string
        case UInt8(ascii: "t"):
            try word("true")
            kind = .boolean(true)
        case UInt8(ascii: "f"):
            try word("false")
            kind = .boolean(false)
        case UInt8(ascii: "n"):
            try word("null")
            kind = .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            try number()
            kind = .number
        default: throw error("not JSON")
        }
        return JSONValue(kind: kind, range: start..<position)
    }

    private mutating func object(
        _ member: (_ key: JSONValue, _ value: JSONValue) throws(JSONError) -> Void
    ) throws(JSONError) {
        try descend()
        position += 1
        skipSpace()
        if take(UInt8(ascii: "}")) {
            depth -= 1
            return
        }
        repeat {
            skipSpace()
            guard peek() == UInt8(ascii: "\"") else { throw error("a member's name must follow") }
            let key = try value()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw error("a colon must follow a name") }
            skipSpace()
            let value = try value()
            try member(key, value)
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw error("an object is not closed") }
        depth -= 1
    }

    private mutating func array(
        _ element: (JSONValue) throws(JSONError) -> Void
    ) throws(JSONError) {
        try descend()
        position += 1
        skipSpace()
        if take(UInt8(ascii: "]")) {
            depth -= 1
            return
        }
        repeat {
            skipSpace()
            try element(try value())
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw error("an array is not closed") }
        depth -= 1
    }

    private mutating func string() throws(JSONError) {
        position += 1
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return
            case UInt8(ascii: "\\"): _ = try escape()
            case 0..<0x20: throw error("a control character in a string must be escaped")
            default: position += 1
            }
        }
        throw error("a string is not closed")
    }

    /// Reads one escape, both halves of a surrogate pair included.
    private mutating func escape() throws(JSONError) -> Unicode.Scalar {
        position += 1
        guard let byte = peek() else { throw error("a string is not closed") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
            return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicodeEscape()
        default: throw error("an unknown escape in a string")
        }
    }

    private mutating func unicodeEscape() throws(JSONError) -> Unicode.Scalar {
        let first = try fourDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            throw error("a surrogate without its partner")
        }
        let second = try fourDigits()
        guard (0xDC00...0xDFFF).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw error("a surrogate without its partner") }
        return scalar
    }

    private mutating func fourDigits() throws(JSONError) -> UInt32 {
        var number: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Hexadecimal.value(of: byte) else {
                throw error("four hexadecimal digits must follow \\u")
            }
            number = number << 4 | UInt32(digit)
            position += 1
        }
        return number
    }

    private mutating func number() throws(JSONError) {
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try digits() }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while let byte = peek(), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            position += 1
        }
        guard position > start else { throw error("a number lacks a digit") }
    }

    private mutating func word(_ word: StaticString) throws(JSONError) {
        let matches = word.withUTF8Buffer { letters in
            var letters = letters.makeIterator()
            while let letter = letters.next() {
                guard take(letter) else { return false }
            }
            return true
        }
        guard matches else { throw error("not JSON") }
    }

    // MARK: Bytes

    private func peek() -> UInt8? {
        position < bytes.count ? bytes[position] : nil
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek() == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private mutating func descend() throws(JSONError) {
        guard depth < JSONScanner.depthAtMost else { throw error("too deeply nested") }
        depth += 1
    }

    private func error(_ reason: String) -> JSONError {
        JSONError(reason: reason, position: position)
    }
}

extension JSONScanner {
    /// The text of a string value; nil when it is no string, or not UTF-8.
    func text(of value: JSONValue) -> String? {
        guard let content = content(of: value) else { return nil }
        guard content.contains(UInt8(ascii: "\\")) else {
            return String(validating: content, as: UTF8.self)
        }
        return unescapedText(in: value.range)
    }

    /// The bytes between the quotes as they stand, escapes included; nil when it is no string.
    func content(of value: JSONValue) -> Slice<UnsafeRawBufferPointer>? {
        guard value.kind == .string, value.range.count >= 2,
            value.range.upperBound <= bytes.count
        else { return nil }
        return bytes[value.range.lowerBound + 1..<value.range.upperBound - 1]
    }

    /// The value of a whole number without fraction or exponent; nil when it is none, or beyond
    /// 64 bits.
    func integer(of value: JSONValue) -> Int64? {
        guard value.kind == .number, value.range.upperBound <= bytes.count else { return nil }
        return Int64(String(decoding: bytes[value.range], as: UTF8.self))
    }

    private func unescapedText(in range: Range<Int>) -> String? {
        var scanner = JSONScanner(bytes)
        scanner.position = range.lowerBound + 1
        var unescaped: [UInt8] = []
        unescaped.reserveCapacity(range.count)
        while scanner.position < range.upperBound - 1, let byte = scanner.peek() {
            if byte == UInt8(ascii: "\\") {
                // The text was read before, so that its escapes are known to be whole.
                do throws(JSONError) {
                    unescaped.append(contentsOf: UTF8.encode(try scanner.escape()) ?? .init())
                } catch {
                    return nil
                }
            } else {
                unescaped.append(byte)
                scanner.position += 1
            }
        }
        return String(validating: unescaped, as: UTF8.self)
    }
}
