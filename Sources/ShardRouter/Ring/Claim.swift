/// Why no shard can be given a share.
public enum ClaimError: Error, Equatable, Sendable {
    /// No shard has a weight above zero, so nobody may own a slot.
    case noWeight
    /// A weight is below zero.
    case negativeWeight(shard: ShardID)
}

/// Shares the slots out among shards by weight, moving as few of them as possible.
///
/// Equal arcs claimed by shards: the third strategy of "Dynamo: Amazon's Highly Available
/// Key-value Store" (2007), section 6.2, with quotas by the largest remainder.
public enum Claim {
    /// How many slots each shard should own: the floor or the ceiling of its exact share.
    ///
    /// - Parameters:
    ///   - weights: a shard of weight 0 owns nothing.
    ///   - holdings: what each shard owns now. Between equal remainders the one that owns more
    ///     gets the odd slot, which saves a move; then the lower id.
    ///   - total: how many slots are shared out.
    public static func quotas(
        weights: [ShardID: Int], holdings: [ShardID: Int] = [:], of total: Int = Slot.count
    ) throws(ClaimError) -> [ShardID: Int] {
        for (shard, weight) in weights where weight < 0 {
            throw .negativeWeight(shard: shard)
        }
        let sum = weights.values.reduce(0, +)
        guard sum > 0 else { throw .noWeight }

        var quotas = weights.mapValues { $0 * total / sum }
        let left = total - quotas.values.reduce(0, +)
        let byRemainder = weights.keys.sorted { one, other in
            let (first, second) = (
                weights[one, default: 0] * total % sum,
                weights[other, default: 0] * total % sum
            )
            let (firstHas, secondHas) = (holdings[one, default: 0], holdings[other, default: 0])
            return (second, secondHas, one.number) < (first, firstHas, other.number)
        }
        for shard in byRemainder.prefix(left) {
            quotas[shard, default: 0] += 1
        }
        return quotas
    }

    /// Who owns each slot when every shard has its quota, with the fewest changes against
    /// `current`: only what a shard has too much, what nobody owns and what a leaving shard owns
    /// changes its owner. The same input gives the same answer.
    ///
    /// - Parameters:
    ///   - current: 16,384 owners; nil is a slot that nobody owns, and an owner that is not in
    ///     `weights` is leaving.
    ///   - weights: the share of each shard, relative to the others.
    /// - Complexity: O(slots + shards · log shards).
    public static func owners(
        current: [ShardID?], weights: [ShardID: Int]
    ) throws(ClaimError) -> [ShardID] {
        precondition(current.count == Slot.count, "one owner for each slot")
        var holdings: [ShardID: Int] = [:]
        for case let shard? in current {
            holdings[shard, default: 0] += 1
        }
        let quotas = try quotas(weights: weights, holdings: holdings)

        // Shards give their highest slots, so that what remains is still a few long runs.
        var surplus = holdings.map { ($0.key, $0.value - quotas[$0.key, default: 0]) }
            .reduce(into: [ShardID: Int]()) { $0[$1.0] = max(0, $1.1) }
        var owners = current
        for slot in owners.indices.reversed() {
            guard let owner = owners[slot], surplus[owner, default: 0] > 0 else { continue }
            surplus[owner, default: 0] -= 1
            owners[slot] = nil
        }
        var takers = quotas.sorted { $0.key < $1.key }
            .map { (shard: $0.key, room: $0.value - holdings[$0.key, default: 0]) }
            .filter { $0.room > 0 }[...]
        return owners.map { owner in
            if let owner { return owner }
            precondition(!takers.isEmpty, "quotas add up to the slots")
            let taker = takers[takers.startIndex].shard
            takers[takers.startIndex].room -= 1
            if takers[takers.startIndex].room == 0 { takers.removeFirst() }
            return taker
        }
    }
}
