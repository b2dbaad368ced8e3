import Foundation
import ShardRouter

/// Answers "what if" without a cluster: rooms of unequal load on a ring, and shards added to it.
public struct RingSimulation: Sendable {
    public var shards: Int
    public var rooms: Int
    /// The n-th room carries 1/nˢ of what the first does; 0 makes all equal.
    public var zipf: Double
    /// Shards that come.
    public var add: Int
    public var seed: Int64

    public init(shards: Int, rooms: Int, zipf: Double, add: Int, seed: Int64 = 1) {
        self.shards = shards
        self.rooms = rooms
        self.zipf = zipf
        self.add = add
        self.seed = seed
    }

    /// What one plan would do.
    public struct Result: Sendable, Equatable {
        public var balance: Balance
        /// The load of the fullest shard by the mean of all.
        public var maxOverMean: Double
        /// The part of the balanced measure that moves, and the least that could.
        public var movedShare: Double
        public var leastShare: Double
        /// The part of all load that moves.
        public var movedLoad: Double
        public var slots: Int
        public var moves: Int
        public var warnings: [String]
    }

    public struct Outcome: Sendable, Equatable {
        /// Of the shards that are there, which have equal numbers of slots.
        public var maxOverMean: Double
        public var results: [Result]
    }

    /// A room's load stands for its rows, its bytes and its messages alike.
    ///
    /// - Throws: a refusal of numbers that make no ring.
    public func run(by balances: [Balance] = [.slots, .bytes]) throws -> Outcome {
        try check()
        let ids = (1...shards).map { ShardID($0) }
        let owners = try Claim.owners(
            current: [ShardID?](repeating: nil, count: Slot.count),
            weights: Dictionary(uniqueKeysWithValues: ids.map { ($0, 1) })
        ).map { $0.number - 1 }
        let loads = drawLoads()
        let members = (1...(shards + add)).map {
            Planner.Member(name: "shard-\($0)", weight: 1)
        }
        let results = try balances.map { balance in
            let planner = Planner(
                members: members, owners: owners, loads: loads, balance: balance)
            return result(planner, try planner.decide())
        }
        var before = [Portion](repeating: Portion(), count: shards)
        for (slot, owner) in owners.enumerated() { before[owner].add(slot, of: loads) }
        return Outcome(maxOverMean: Self.maxOverMean(before, by: .bytes), results: results)
    }

    private func check() throws {
        guard (1...Slot.count).contains(shards), (0...Slot.count).contains(add),
            shards + add <= Slot.count, (1...100_000_000).contains(rooms), (0...10).contains(zipf)
        else {
            throw OperationError.refused(
                "a simulation has 1 … 16,384 shards with those that come, 1 … 100,000,000 rooms "
                    + "and a Zipf exponent of 0 … 10",
                next: "shardctl ring simulate --shards 3 --rooms 100000 --zipf 1 --add 1")
        }
    }

    private func drawLoads() -> SlotLoads {
        let hash = RingHash(seed: seed)
        var loads = SlotLoads()
        for rank in 1...rooms {
            let slot = hash.slot(of: RoomID("room-\(rank)")).number
            let load = 1e9 / pow(Double(rank), zipf)
            loads.bytes[slot] += Int64(load.rounded())
            loads.rate[slot] += load
        }
        loads.rows = loads.bytes
        return loads
    }

    private func result(_ planner: Planner, _ decision: Planner.Decision) -> Result {
        let balance = planner.balance
        let total = planner.loads.total(by: balance)
        var moved = Portion()
        for slot in decision.moves.flatMap(\.slots) { moved.add(slot, of: planner.loads) }
        return Result(
            balance: balance,
            maxOverMean: Self.maxOverMean(decision.shares.map(\.after), by: .bytes),
            movedShare: moved.amount(by: balance) / total, leastShare: decision.leastPart,
            movedLoad: Double(moved.bytes) / planner.loads.total(by: .bytes),
            slots: moved.slots, moves: decision.moves.count, warnings: decision.warnings)
    }

    static func maxOverMean(_ portions: [Portion], by balance: Balance) -> Double {
        let amounts = portions.map { $0.amount(by: balance) }
        let mean = amounts.reduce(0, +) / Double(amounts.count)
        return mean > 0 ? (amounts.max() ?? 0) / mean : 1
    }
}
