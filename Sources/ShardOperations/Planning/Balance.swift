import ShardRouter

/// What a plan makes equal among the shards, by their weights.
public enum Balance: String, Sendable, CaseIterable {
    case slots, rows, bytes
    /// Messages in a second, as measured over a few seconds.
    case rate
}

/// What each of the 16,384 slots carries.
public struct SlotLoads: Sendable, Equatable {
    public var rows = [Int64](repeating: 0, count: Slot.count)
    public var bytes = [Int64](repeating: 0, count: Slot.count)
    /// Messages in a second.
    public var rate = [Double](repeating: 0, count: Slot.count)

    public init() {}

    public func load(of slot: Int, by balance: Balance) -> Double {
        switch balance {
        case .slots: 1
        case .rows: Double(rows[slot])
        case .bytes: Double(bytes[slot])
        case .rate: rate[slot]
        }
    }

    public func total(by balance: Balance) -> Double {
        (0..<Slot.count).reduce(0) { $0 + load(of: $1, by: balance) }
    }
}

/// What some slots carry together.
public struct Portion: Sendable, Equatable {
    public var slots = 0
    public var rows: Int64 = 0
    public var bytes: Int64 = 0
    public var rate = 0.0

    public init() {}

    public mutating func add(_ slot: Int, of loads: SlotLoads) {
        slots += 1
        rows += loads.rows[slot]
        bytes += loads.bytes[slot]
        rate += loads.rate[slot]
    }

    public func amount(by balance: Balance) -> Double {
        switch balance {
        case .slots: Double(slots)
        case .rows: Double(rows)
        case .bytes: Double(bytes)
        case .rate: rate
        }
    }
}

/// What a shard has before a plan and after it.
public struct ShardShare: Sendable, Equatable {
    public var name: String
    /// As the plan has it: 0 for a shard that leaves.
    public var weight: Int
    public var before = Portion()
    public var after = Portion()
}
