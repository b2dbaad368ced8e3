public import ShardRouter

/// How big a plan and its moves may be.
public struct PlanLimits: Sendable {
    /// Moves in the plan; the first ones are kept, each of which is worth having alone.
    public var moves = Int.max
    /// Slots of one move: few enough that a move is over soon and can be repeated.
    public var slots = 512
    /// Bytes of one move; a slot that is larger moves alone.
    public var bytes: Int64 = 4 << 30
    /// How far a shard may be off its quota and still be left alone, as a part of the quota. Slots
    /// are counted exactly.
    public var tolerance = 0.01

    public init() {}
}

/// Decides which slots change their shard. The same input gives the same answer.
///
/// Load goes from shards over their quota to shards under it, and no more than the surplus: the
/// least that can be moved. Each move makes the whole better, so a plan may stop anywhere.
public struct Planner: Sendable {
    /// A shard that takes part.
    public struct Member: Sendable, Hashable {
        public var name: String
        /// 0 gives everything away.
        public var weight: Int

        public init(name: String, weight: Int) {
            self.name = name
            self.weight = weight
        }
    }

    /// What is to be done, and what it leads to.
    public struct Decision: Sendable, Equatable {
        public var moves: [PlannedMove]
        /// In the order of the members.
        public var shares: [ShardShare]
        /// The least part of the balanced measure whose move makes every shard's share exact.
        public var leastPart: Double
        public var warnings: [String]
    }

    public let members: [Member]
    /// The owner of each slot, as a place in `members`.
    public let owners: [Int]
    public let loads: SlotLoads
    public let balance: Balance
    /// Where pinned slots belong, as places in `members`.
    public var pins: [Int: Int] = [:]
    /// Slots that stay with their owner: an open move is bringing them there.
    public var settled: Set<Int> = []
    public var limits = PlanLimits()

    public init(members: [Member], owners: [Int], loads: SlotLoads, balance: Balance) {
        precondition(owners.count == Slot.count, "every slot has exactly one owner")
        precondition(owners.allSatisfy { members.indices.contains($0) }, "owners are members")
        self.members = members
        self.owners = owners
        self.loads = loads
        self.balance = balance
    }

    /// - Throws: ``ClaimError`` when no member may own anything.
    public func decide() throws(ClaimError) -> Decision {
        if let bad = members.firstIndex(where: { $0.weight < 0 }) {
            throw .negativeWeight(shard: ShardID(bad + 1))
        }
        guard members.contains(where: { $0.weight > 0 }) else { throw .noWeight }
        let measure = isEmpty ? Balance.slots : balance
        var balancing = Balancing(self, by: measure)
        balancing.placePins()
        let oversized = balancing.placeOversized()
        balancing.fixQuotas()
        let leastPart = balancing.leastPart
        balancing.empty()
        balancing.level()
        balancing.refine()

        let moves = balancing.stages.flatMap { cut($0) }
        let kept = Array(moves.prefix(limits.moves))
        var warnings = oversized.prefix(3).map { warning(oversized: $0) }
        if oversized.count > 3 {
            warnings.append(
                "\(oversized.count - 3) more slots carry more than a whole share each")
        }
        if isEmpty {
            let none = balance == .rate ? "no message came meanwhile" : "nothing is stored yet"
            warnings.append("\(none), so the plan balances slots")
        }
        if kept.count < moves.count {
            warnings.append(
                "\(moves.count - kept.count) more moves are needed until the shards are balanced")
        }
        return Decision(
            moves: kept, shares: shares(after: kept), leastPart: leastPart, warnings: warnings)
    }

    private var isEmpty: Bool { balance != .slots && loads.total(by: balance) <= 0 }

    private func warning(oversized slot: Int) -> String {
        let load = loads.load(of: slot, by: balance) / loads.total(by: balance)
        return "slot \(slot) alone carries \(percent(load)) of all \(balance.rawValue), more than "
            + "a whole share: the balance cannot be better. 'shardctl room isolate' gives a room "
            + "of it a shard of its own"
    }

    private func shares(after moves: [PlannedMove]) -> [ShardShare] {
        var shares = members.map { ShardShare(name: $0.name, weight: $0.weight) }
        var targets: [Int: Int] = [:]
        let places = Dictionary(uniqueKeysWithValues: zip(members.map(\.name), members.indices))
        for move in moves {
            for slot in move.slots { targets[slot] = places[move.target] }
        }
        for (slot, owner) in owners.enumerated() {
            shares[owner].before.add(slot, of: loads)
            shares[targets[slot] ?? owner].after.add(slot, of: loads)
        }
        return shares
    }
}

/// `0.256` is `25.6 %`.
private func percent(_ part: Double) -> String {
    let tenths = Int((part * 1_000).rounded())
    return "\(tenths / 10).\(tenths % 10) %"
}
