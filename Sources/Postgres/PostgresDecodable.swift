public import FoundationEssentials

/// A value that can be read from a column.
public protocol PostgresDecodable: Sendable {
    static func decode(_ cell: Cell) throws(PostgresError) -> Self
}

extension Bool: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Bool {
        try cell.bytes(of: [16], as: "bool", count: 1)[0] != 0
    }
}

extension Int16: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Int16 {
        integer(try cell.bytes(of: [21], as: "smallint", count: 2))
    }
}

extension Int32: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Int32 {
        integer(try cell.bytes(of: [23], as: "integer", count: 4))
    }
}

/// From `bigint`, `integer` and `smallint`.
extension Int64: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Int64 {
        switch cell.type {
        case 21: Int64(try Int16.decode(cell))
        case 23: Int64(try Int32.decode(cell))
        default: integer(try cell.bytes(of: [20], as: "bigint", count: 8))
        }
    }
}

/// From `bigint`, `integer` and `smallint`.
extension Int: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Int {
        Int(try Int64.decode(cell))
    }
}

extension Double: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Double {
        let bits: UInt64 = integer(try cell.bytes(of: [701], as: "double precision", count: 8))
        return Double(bitPattern: bits)
    }
}

/// From every type whose binary form is its text: text, varchar, char, name, json, unknown.
extension String: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> String {
        let bytes = try cell.bytes(
            of: [25, 1_043, 1_042, 19, 114, 705, 18], as: "text", count: nil)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw cell.problem("not UTF-8")
        }
        return text
    }
}

extension UUID: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> UUID {
        let bytes = try cell.bytes(of: [2_950], as: "uuid", count: 16)
        var uuid: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &uuid) { $0.copyMemory(from: bytes) }
        return UUID(uuid: uuid)
    }
}

/// `infinity` and `-infinity` are refused: no message was sent then.
extension Timestamp: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Timestamp {
        let since2000: Int64 = integer(try cell.bytes(of: [1_184], as: "timestamptz", count: 8))
        let (micros, isOver) = since2000.addingReportingOverflow(epochOffset)
        guard !isOver, since2000 != .min else { throw cell.problem("an infinite time") }
        return Timestamp(microsecondsSince1970: micros)
    }
}

extension Bytes: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Bytes {
        Bytes(Array(try cell.bytes(of: [17], as: "bytea", count: nil)))
    }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> Wrapped? {
        cell.isNull ? nil : try Wrapped.decode(cell)
    }
}

extension Array: PostgresDecodable where Element: PostgresDecodable {
    public static func decode(_ cell: Cell) throws(PostgresError) -> [Element] {
        guard let bytes = cell.content else { throw cell.problem("NULL") }
        guard bytes.count >= 12 else { throw cell.problem("no array") }
        let dimensions: Int32 = integer(bytes, at: 0)
        let elementType: UInt32 = integer(bytes, at: 8)
        if dimensions == 0 { return [] }
        guard dimensions == 1, bytes.count >= 20 else {
            throw cell.problem("no one-dimensional array")
        }
        let count: Int32 = integer(bytes, at: 12)
        var offset = 20
        var elements: [Element] = []
        for _ in 0..<Swift.max(0, count) {
            guard offset + 4 <= bytes.count else { throw cell.problem("a cut-off array") }
            let length: Int32 = integer(bytes, at: offset)
            offset += 4
            guard length <= bytes.count - offset else { throw cell.problem("a cut-off array") }
            let part =
                length < 0
                ? nil : UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + Int(length)])
            elements.append(try Element.decode(cell.element(part, type: elementType)))
            offset += Swift.max(0, Int(length))
        }
        return elements
    }
}

private func integer<Number: FixedWidthInteger>(
    _ bytes: UnsafeRawBufferPointer, at offset: Int = 0
) -> Number {
    Number(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
}
