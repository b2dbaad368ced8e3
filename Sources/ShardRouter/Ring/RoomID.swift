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
}

extension RoomID: Hashable {
    public static func == (one: RoomID, other: RoomID) -> Bool {
        one.text.utf8.elementsEqual(other.text.utf8)
    }

    public func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension RoomID: Comparable {
    /// The order of the bytes: PostgreSQL's own order of a `collate "C"` column.
    public static func < (one: RoomID, other: RoomID) -> Bool {
        one.text.utf8.lexicographicallyPrecedes(other.text.utf8)
    }
}

extension RoomID: CustomStringConvertible {
    public var description: String { text }
}
