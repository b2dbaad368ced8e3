import Glibc

/// The name of a room: a sequence of bytes.
///
/// Two ids are the same only when their UTF-8 bytes are: PostgreSQL compares and hashes bytes, and
/// two canonically equal Swift strings (`"é"` in one scalar or in two) are two rooms there.
public struct RoomID: Sendable {
    /// The name as text. Compare ids, never these strings.
    public let text: String

    /// Any text is an id; what a chat allows is the chat's own rule.
    public init(_ text: String) {
        var text = text
        text.makeContiguousUTF8()
        self.text = text
    }

    /// Lends the bytes without touching the reference count, which would be a third of a hash's cost.
    @inline(__always)
    func withBytes<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        let value = text.utf8.withContiguousStorageIfAvailable { body(UnsafeRawBufferPointer($0)) }
        guard let value else { preconditionFailure("the text of a room is contiguous") }
        return value
    }
}

extension RoomID: Hashable {
    public static func == (one: RoomID, other: RoomID) -> Bool {
        compare(one, other) == 0
    }

    public func hash(into hasher: inout Hasher) {
        withBytes { hasher.combine(bytes: $0) }
    }
}

extension RoomID: Comparable {
    /// The order of the bytes: PostgreSQL's own order of a `collate "C"` column.
    public static func < (one: RoomID, other: RoomID) -> Bool {
        compare(one, other) < 0
    }
}

extension RoomID {
    /// Below, at or above 0: the order of the bytes, a shorter name before its continuations.
    private static func compare(_ one: RoomID, _ other: RoomID) -> Int {
        one.withBytes { one in
            other.withBytes { other in
                guard let first = one.baseAddress, let second = other.baseAddress else {
                    return one.count - other.count
                }
                let order = memcmp(first, second, min(one.count, other.count))
                return order == 0 ? one.count - other.count : Int(order)
            }
        }
    }
}

extension RoomID: CustomStringConvertible {
    public var description: String { text }
}
