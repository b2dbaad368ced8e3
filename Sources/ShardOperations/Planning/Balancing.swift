import ShardRouter

/// The work of a ``Planner``: who holds what while slots are given to others, in thought.
struct Balancing {
    struct Change {
        var slot: Int
        var source: Int
        var target: Int
    }

    let weights: [Int]
    let measure: Balance
    let tolerance: Double
    /// By slot. Besides what it carries, every slot counts a thousandth of the mean slot: rooms
    /// that are made later come to empty slots as well.
    let load: [Double]
    let total: Double
    let pins: [Int: Int]
    /// By slot; as places among the members.
    private(set) var owners: [Int]
    /// Slots that may not be moved, or not again.
    private(set) var isFixed: [Bool]
    /// By member.
    private(set) var held: [Double]
    private(set) var quotas: [Double] = []
    /// Changes of one stage may be made in any order; the stages follow one another.
    private(set) var stages: [[Change]] = [[]]

    init(_ planner: Planner, by measure: Balance) {
        weights = planner.members.map(\.weight)
        self.measure = measure
        tolerance = measure == .slots ? 0 : planner.limits.tolerance
        let loads = planner.loads
        let least =
            measure == .slots ? 0 : loads.total(by: measure) / Double(Slot.count) / 1_000
        load = (0..<Slot.count).map { loads.load(of: $0, by: measure) + least }
        total = load.reduce(0, +)
        owners = planner.owners
        isFixed = (0..<Slot.count).map { planner.settled.contains($0) }
        pins = planner.pins
        held = [Double](repeating: 0, count: weights.count)
        for slot in 0..<Slot.count { held[owners[slot]] += load[slot] }
    }

    /// Brings pinned slots to their shards.
    mutating func placePins() {
        for (slot, member) in pins.sorted(by: { $0.key < $1.key }) where !isFixed[slot] {
            give(slot, to: member)
            isFixed[slot] = true
        }
    }

    /// Slots that are more than a whole share by themselves: no two of them stay on one shard.
    ///
    /// - Returns: these slots, the heaviest first.
    mutating func placeOversized() -> [Int] {
        let oversized = oversized
        var fixed = fixedLoads
        var isTaken = [Bool](repeating: false, count: weights.count)
        for slot in oversized where isFixed[slot] { isTaken[owners[slot]] = true }
        for slot in oversized where !isFixed[slot] {
            let owner = owners[slot]
            let place =
                weights[owner] > 0 && !isTaken[owner]
                ? owner
                : members { weights[$0] > 0 }.min { one, other in
                    let first = (fixed[one] + load[slot]) / Double(weights[one])
                    let second = (fixed[other] + load[slot]) / Double(weights[other])
                    return (first, held[one], one) < (second, held[other], other)
                } ?? owner
            give(slot, to: place)
            isFixed[slot] = true
            isTaken[place] = true
            fixed[place] += load[slot]
        }
        return oversized
    }

    /// Each takes the place of one of the heaviest shards, and leaves the others less to share.
    private var oversized: [Int] {
        guard measure != .slots, let largest = weights.max() else { return [] }
        var (rest, weight) = (total, weights.reduce(0, +))
        var oversized: [Int] = []
        for slot in load.indices.sorted(by: { (load[$1], $0) < (load[$0], $1) }) {
            let share = rest * Double(largest) / Double(weight)
            guard load[slot] > share * (1 + tolerance) else { break }
            oversized.append(slot)
            rest -= load[slot]
            weight -= largest
            if weight <= 0 { break }
        }
        return oversized
    }

    /// What every shard should hold: its share by weight, or what is fixed there if that is more.
    mutating func fixQuotas() {
        let fixed = fixedLoads
        quotas = fixed
        var open = members { weights[$0] > 0 }
        while !open.isEmpty {
            let closed = members { !open.contains($0) }.reduce(0) { $0 + fixed[$1] }
            let shares = shares(of: total - closed, among: open)
            let overfull = open.filter { fixed[$0] > shares[$0, default: 0] }
            guard overfull.isEmpty || overfull.count == open.count else {
                open.removeAll { overfull.contains($0) }
                continue
            }
            for member in open { quotas[member] = max(fixed[member], shares[member, default: 0]) }
            break
        }
        nextStage()
    }

    private func shares(of amount: Double, among open: [Int]) -> [Int: Double] {
        let sum = Double(open.reduce(0) { $0 + weights[$1] })
        guard measure == .slots else {
            return Dictionary(
                uniqueKeysWithValues: open.map { ($0, amount * Double(weights[$0]) / sum) })
        }
        let numbered = open.map { ShardID($0 + 1) }
        do throws(ClaimError) {
            let quotas = try Claim.quotas(
                weights: Dictionary(
                    uniqueKeysWithValues: zip(numbered, open.map { weights[$0] })),
                holdings: Dictionary(
                    uniqueKeysWithValues: zip(numbered, open.map { Int(held[$0]) })),
                of: Int(amount))
            return Dictionary(
                uniqueKeysWithValues: quotas.map { ($0.key.number - 1, Double($0.value)) })
        } catch {
            preconditionFailure("open members have a weight: \(error)")
        }
    }

    private var fixedLoads: [Double] {
        load.indices.reduce(into: [Double](repeating: 0, count: weights.count)) {
            if isFixed[$1] { $0[owners[$1]] += load[$1] }
        }
    }

    /// What was placed, and what is over the quotas, as a part of everything.
    var leastPart: Double {
        let placed = stages.joined().reduce(0) { $0 + load[$1.slot] }
        let over = weights.indices.reduce(0) { $0 + max(0, surplus($1)) }
        return (placed + over) / total
    }

    func members(where isMeant: (Int) -> Bool) -> [Int] { weights.indices.filter(isMeant) }

    /// The slots of `member` that may move, the heaviest first.
    func movable(of member: Int) -> [Int] {
        owners.indices.filter { owners[$0] == member && !isFixed[$0] }
            .sorted { (load[$1], $0) < (load[$0], $1) }
    }

    mutating func give(_ slot: Int, to member: Int) {
        let source = owners[slot]
        guard source != member else { return }
        owners[slot] = member
        held[source] -= load[slot]
        held[member] += load[slot]
        stages[stages.count - 1].append(Change(slot: slot, source: source, target: member))
        isFixed[slot] = true
    }

    mutating func nextStage() { stages.append([]) }
}
