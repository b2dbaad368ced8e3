public import FoundationEssentials

/// A value that can be a parameter.
public protocol PostgresEncodable: Sendable {
    /// The type's number in `pg_type`, and that of its array.
    static var postgresType: (type: UInt32, array: UInt32) { get }
    var postgresValue: EncodedValue { get }
}

extension PostgresEncodable {
    func encoded(_ bytes: [UInt8]?) -> EncodedValue {
        EncodedValue(
            type: Self.postgresType.type, arrayType: Self.postgresType.array, bytes: bytes)
    }
}

extension Bool: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (16, 1_000) }
    public var postgresValue: EncodedValue { encoded([self ? 1 : 0]) }
}

extension Int16: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (21, 1_005) }
    public var postgresValue: EncodedValue { encoded(bigEndianBytes(self)) }
}

extension Int32: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (23, 1_007) }
    public var postgresValue: EncodedValue { encoded(bigEndianBytes(self)) }
}

extension Int64: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (20, 1_016) }
    public var postgresValue: EncodedValue { encoded(bigEndianBytes(self)) }
}

/// As `bigint`.
extension Int: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { Int64.postgresType }
    public var postgresValue: EncodedValue { Int64(self).postgresValue }
}

extension Double: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (701, 1_022) }
    public var postgresValue: EncodedValue { encoded(bigEndianBytes(bitPattern)) }
}

extension String: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (25, 1_009) }
    public var postgresValue: EncodedValue {
        var value = encoded(Array(utf8))
        if utf8.contains(0) { value.problem = "PostgreSQL text cannot hold a NUL character" }
        return value
    }
}

extension UUID: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (2_950, 2_951) }
    public var postgresValue: EncodedValue {
        encoded(withUnsafeBytes(of: uuid) { Array($0) })
    }
}

extension Timestamp: PostgresEncodable {
    /// PostgreSQL counts from 2000-01-01.
    static let epochOffset: Int64 = 946_684_800_000_000

    public static var postgresType: (type: UInt32, array: UInt32) { (1_184, 1_185) }
    public var postgresValue: EncodedValue {
        encoded(bigEndianBytes(microsecondsSince1970 &- Self.epochOffset))
    }
}

/// A `bytea`.
public struct Bytes: PostgresEncodable, Hashable {
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    public static var postgresType: (type: UInt32, array: UInt32) { (17, 1_001) }
    public var postgresValue: EncodedValue { encoded(bytes) }
}

/// NULL is the absence of a value.
extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { Wrapped.postgresType }
    public var postgresValue: EncodedValue { self?.postgresValue ?? encoded(nil) }
}

/// A one-dimensional array.
extension Array: PostgresEncodable where Element: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) {
        (Element.postgresType.array, 0)
    }

    public var postgresValue: EncodedValue {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(20 + count * 16)
        let values = map(\.postgresValue)
        let hasNull = values.contains { $0.bytes == nil }
        append(Int32(isEmpty ? 0 : 1), to: &bytes)
        append(Int32(hasNull ? 1 : 0), to: &bytes)
        append(Int32(bitPattern: Element.postgresType.type), to: &bytes)
        if !isEmpty {
            append(Int32(count), to: &bytes)
            append(Int32(1), to: &bytes)
        }
        for value in values {
            append(value.bytes.map { Int32($0.count) } ?? -1, to: &bytes)
            bytes += value.bytes ?? []
        }
        var value = encoded(bytes)
        value.problem = values.lazy.compactMap(\.problem).first
        return value
    }

    private func append(_ number: Int32, to bytes: inout [UInt8]) {
        Swift.withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }
}

private func bigEndianBytes(_ number: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
}
