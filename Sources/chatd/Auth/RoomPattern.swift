import ShardRouter

/// Which rooms a right is for: a room's name in which each `*` stands for any characters, also for
/// none. All else stands for itself; upper and lower case are different.
struct RoomPattern: Hashable, Sendable {
    /// Bytes of the longest pattern: a longer one matches nothing. Room for the longest name with a
    /// `*` at every place.
    static let bytesAtMost = 2 * RoomName.bytesAtMost + 1

    private static let star = UInt8(ascii: "*")

    /// Without two stars in a row; nil when it is too long to match anything.
    private let bytes: [UInt8]?

    init(_ text: String) {
        guard text.utf8.count <= Self.bytesAtMost else {
            bytes = nil
            return
        }
        var bytes: [UInt8] = []
        for byte in text.utf8 where byte != Self.star || bytes.last != Self.star {
            bytes.append(byte)
        }
        self.bytes = bytes
    }

    /// Whether the pattern is for `room`.
    ///
    /// Costs at most the product of both lengths, some 33,000 steps: only the last star is ever
    /// tried again, which finds a match whenever there is one.
    func matches(_ room: RoomID) -> Bool {
        guard let bytes else { return false }
        var text = room.text
        return text.withUTF8 { Self.matches(bytes, $0) }
    }

    private static func matches(_ pattern: [UInt8], _ text: UnsafeBufferPointer<UInt8>) -> Bool {
        var next = 0
        var position = 0
        /// Behind the last star in the pattern, and how far that star reaches in the text.
        var retry: (next: Int, position: Int)?
        while position < text.count {
            if next < pattern.count, pattern[next] == star {
                next += 1
                retry = (next, position)
            } else if next < pattern.count, pattern[next] == text[position] {
                next += 1
                position += 1
            } else if let last = retry {
                next = last.next
                position = last.position + 1
                retry = (next, position)
            } else {
                return false
            }
        }
        return next == pattern.count || (next == pattern.count - 1 && pattern[next] == star)
    }
}
