/// One of 16,384 equal arcs of the ring: the unit of ownership, of moves and of balance.
public struct Slot: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// How many slots a ring has.
    public static let count = 16_384

    /// 0 ..< ``count``.
    public let number: Int

    /// - Precondition: `number` is in 0 ..< ``count``.
    public init(_ number: Int) {
        precondition((0..<Slot.count).contains(number), "slot \(number) is outside the ring")
        self.number = number
    }

    public static func < (one: Slot, other: Slot) -> Bool { one.number < other.number }
    public var description: String { String(number) }
}

/// The number that the catalog gave a shard; never given twice.
public struct ShardID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 1 … 65,535.
    public let number: Int

    public init(_ number: Int) {
        self.number = number
    }

    /// Shard numbers have 16 bits; 0 is nobody.
    var isInRange: Bool { (1...65_535).contains(number) }

    public static func < (one: ShardID, other: ShardID) -> Bool { one.number < other.number }
    public var description: String { String(number) }
}

/// The version of who owns what. Every change makes a higher one.
public struct Epoch: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let number: Int64

    public init(_ number: Int64) {
        self.number = number
    }

    /// Epochs have 48 bits, enough for a change in every millisecond of 8,900 years.
    var isInRange: Bool { (0..<1 << 48).contains(number) }

    public static func < (one: Epoch, other: Epoch) -> Bool { one.number < other.number }
    public var description: String { String(number) }
}
