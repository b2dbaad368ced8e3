import ShardRouter
import TestKit
import Testing

@Suite struct ClaimTests {
    private let empty = [ShardID?](repeating: nil, count: Slot.count)

    @Test(arguments: [1, 2, 3, 7, 64, 1_000])
    func `equal shards differ by at most one slot`(shards: Int) throws {
        let weights = Dictionary(uniqueKeysWithValues: (1...shards).map { (ShardID($0), 1) })

        let owners = try Claim.owners(current: empty, weights: weights)

        let counts = count(owners)
        #expect(counts.count == shards)
        #expect(try #require(counts.values.max()) - (try #require(counts.values.min())) <= 1)
    }

    @Test func `adding a shard moves its share and nothing between the old ones`() throws {
        let eight = Dictionary(uniqueKeysWithValues: (1...8).map { (ShardID($0), 1) })
        let before = try Claim.owners(current: empty, weights: eight)
        let nine = eight.merging([ShardID(9): 1]) { $1 }

        let after = try Claim.owners(current: before, weights: nine)

        let moved = zip(before, after).filter { $0 != $1 }
        #expect(moved.allSatisfy { $0.1 == ShardID(9) })
        #expect(moved.count == count(after)[ShardID(9)])
        #expect(moved.count == Slot.count / 9)
    }

    @Test(arguments: [1, 2, 3, 71_193, 2_026] as [UInt64])
    func `random changes move the optimum and leave every shard at its quota`(
        seed: UInt64
    ) throws {
        var generator = SeededGenerator(seed: seed)
        var weights = [ShardID(1): 1]
        var owners = try Claim.owners(current: empty, weights: weights)
        var nextNumber = 2

        for _ in 0..<60 {
            change(&weights, &nextNumber, &generator)
            let after = try Claim.owners(current: owners, weights: weights)

            let (had, has) = (count(owners), count(after))
            let total = weights.values.reduce(0, +)
            for (shard, weight) in weights {
                let exact = Double(weight) * Double(Slot.count) / Double(total)
                let slots = Double(has[shard, default: 0])
                #expect(
                    slots == exact.rounded(.down) || slots == exact.rounded(.up), "seed \(seed)")
            }
            // Whoever ends with fewer slots than before must have given that many, and no less.
            let needed = had.reduce(0) { $0 + max(0, $1.value - has[$1.key, default: 0]) }
            let moved = zip(owners, after).count { $0 != $1 }
            #expect(moved == needed, "seed \(seed)")
            owners = after
        }
    }

    @Test func `an odd slot stays with the shard that has it`() throws {
        let weights = [ShardID(1): 1, ShardID(2): 1, ShardID(3): 1]
        var current = try Claim.owners(current: empty, weights: weights).map(Optional.some)
        let odd = try #require(current.firstIndex(of: ShardID(1)))
        current[odd] = ShardID(3)

        let owners = try Claim.owners(current: current, weights: weights)

        #expect(owners == current.compactMap(\.self))
    }

    @Test func `a leaving shard loses everything and the others give nothing`() throws {
        let before = try Claim.owners(
            current: empty, weights: [ShardID(1): 2, ShardID(2): 1, ShardID(3): 1])

        let after = try Claim.owners(current: before, weights: [ShardID(2): 1, ShardID(3): 1])

        #expect(!after.contains(ShardID(1)))
        #expect(zip(before, after).allSatisfy { $0 == $1 || $0 == ShardID(1) })
    }

    @Test func `shards without weight are refused`() {
        #expect(throws: ClaimError.noWeight) {
            try Claim.owners(current: empty, weights: [ShardID(1): 0])
        }
        #expect(throws: ClaimError.negativeWeight(shard: ShardID(2))) {
            try Claim.quotas(weights: [ShardID(1): 1, ShardID(2): -1])
        }
    }

    private func count(_ owners: [ShardID]) -> [ShardID: Int] {
        owners.reduce(into: [:]) { $0[$1, default: 0] += 1 }
    }

    /// Adds, removes or reweights one shard; at least one keeps a weight.
    private func change(
        _ weights: inout [ShardID: Int], _ nextNumber: inout Int,
        _ generator: inout SeededGenerator
    ) {
        let known = weights.keys.sorted()
        switch Int.random(in: 0..<3, using: &generator) {
        case 0 where known.count > 1:
            weights[known[Int.random(in: known.indices, using: &generator)]] = nil
        case 1:
            let shard = known[Int.random(in: known.indices, using: &generator)]
            weights[shard] = Int.random(in: 1...9, using: &generator)
        default:
            weights[ShardID(nextNumber)] = Int.random(in: 1...5, using: &generator)
            nextNumber += 1
        }
    }
}
