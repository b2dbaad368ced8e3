public import FoundationEssentials

/// A value that can be a parameter.
public protocol PostgresEncodable: Sendable {
    /// The type's number in `pg_type`, and that of its array.
    static var postgresType: (type: UInt32, array: UInt32) { get }

    /// Appends the value in PostgreSQL's binary format.
    ///
    /// - Returns: false for NULL; then nothing was appended.
    func encode(into bytes: inout [UInt8]) throws(UnencodableValue) -> Bool
}

extension Bool: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (16, 1_000) }

    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes.append(self ? 1 : 0)
        return true
    }
}

extension Int16: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (21, 1_005) }
    public func encode(into bytes: inout [UInt8]) -> Bool { append(self, to: &bytes) }
}

extension Int32: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (23, 1_007) }
    public func encode(into bytes: inout [UInt8]) -> Bool { append(self, to: &bytes) }
}

extension Int64: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (20, 1_016) }
    public func encode(into bytes: inout [UInt8]) -> Bool { append(self, to: &bytes) }
}

/// As `bigint`.
extension Int: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { Int64.postgresType }
    public func encode(into bytes: inout [UInt8]) -> Bool { append(Int64(self), to: &bytes) }
}

extension Double: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (701, 1_022) }
    public func encode(into bytes: inout [UInt8]) -> Bool { append(bitPattern, to: &bytes) }
}

extension String: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (25, 1_009) }

    public func encode(into bytes: inout [UInt8]) throws(UnencodableValue) -> Bool {
        let start = bytes.count
        bytes.append(contentsOf: utf8)
        guard !bytes[start...].contains(0) else {
            bytes.removeSubrange(start...)
            throw UnencodableValue(reason: "PostgreSQL text cannot hold a NUL character")
        }
        return true
    }
}

extension UUID: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { (2_950, 2_951) }

    public func encode(into bytes: inout [UInt8]) -> Bool {
        withUnsafeBytes(of: uuid) { bytes.append(contentsOf: $0) }
        return true
    }
}

extension Timestamp: PostgresEncodable {
    /// PostgreSQL counts from 2000-01-01.
    static let epochOffset: Int64 = 946_684_800_000_000

    public static var postgresType: (type: UInt32, array: UInt32) { (1_184, 1_185) }

    public func encode(into bytes: inout [UInt8]) -> Bool {
        append(microsecondsSince1970 &- Self.epochOffset, to: &bytes)
    }
}

/// A `bytea`.
public struct Bytes: PostgresEncodable, Hashable {
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    public static var postgresType: (type: UInt32, array: UInt32) { (17, 1_001) }

    public func encode(into bytes: inout [UInt8]) -> Bool {
        bytes += self.bytes
        return true
    }
}

/// NULL is the absence of a value.
extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) { Wrapped.postgresType }

    public func encode(into bytes: inout [UInt8]) throws(UnencodableValue) -> Bool {
        try self?.encode(into: &bytes) ?? false
    }
}

/// A one-dimensional array.
extension Array: PostgresEncodable where Element: PostgresEncodable {
    public static var postgresType: (type: UInt32, array: UInt32) {
        (Element.postgresType.array, 0)
    }

    public func encode(into bytes: inout [UInt8]) throws(UnencodableValue) -> Bool {
        try ArrayOf(self) { $0 }.encode(into: &bytes)
    }
}

/// A one-dimensional array of what `element` gives for each part of `base`, without making that
/// array first.
public struct ArrayOf<Base: Collection & Sendable, Element: PostgresEncodable>: PostgresEncodable {
    private let base: Base
    private let element: @Sendable (Base.Element) -> Element

    public init(_ base: Base, _ element: @escaping @Sendable (Base.Element) -> Element) {
        self.base = base
        self.element = element
    }

    public static var postgresType: (type: UInt32, array: UInt32) {
        (Element.postgresType.array, 0)
    }

    public func encode(into bytes: inout [UInt8]) throws(UnencodableValue) -> Bool {
        let start = bytes.count
        var hasNull = false
        append(Int32(base.isEmpty ? 0 : 1), to: &bytes)
        append(Int32(0), to: &bytes)
        append(Element.postgresType.type, to: &bytes)
        if !base.isEmpty {
            append(Int32(base.count), to: &bytes)
            append(Int32(1), to: &bytes)
        }
        for part in base {
            let place = bytes.count
            append(Int32(-1), to: &bytes)
            guard try element(part).encode(into: &bytes) else {
                hasNull = true
                continue
            }
            put(Int32(bytes.count - place - 4), at: place, in: &bytes)
        }
        if hasNull { put(Int32(1), at: start + 4, in: &bytes) }
        return true
    }
}

@discardableResult
private func append(_ number: some FixedWidthInteger, to bytes: inout [UInt8]) -> Bool {
    withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    return true
}

/// Replaces the bytes at `place` by those of `number`.
private func put(_ number: Int32, at place: Int, in bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes {
        $0.storeBytes(of: number.bigEndian, toByteOffset: place, as: Int32.self)
    }
}
