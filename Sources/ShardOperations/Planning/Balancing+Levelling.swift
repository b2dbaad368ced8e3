extension Balancing {
    /// Empties the shards that leave.
    mutating func empty() {
        let givers = members { weights[$0] == 0 && surplus($0) > 0 }
        let takers = members { weights[$0] > 0 && surplus($0) < 0 }
        carryOut(transfers(from: givers, to: takers))
        // What fits nowhere leaves all the same.
        for giver in givers {
            for slot in movable(of: giver) {
                guard let taker = emptiest else { break }
                give(slot, to: taker)
            }
        }
        nextStage()
    }

    /// Moves the surplus of shards over their quota to shards under it.
    ///
    /// When those outside the tolerance can be helped by one another alone, the others give or take
    /// nothing beyond that.
    mutating func level() {
        let staying = members { weights[$0] > 0 }
        let outside = staying.filter { isOutside($0) }
        guard !outside.isEmpty else { return }
        let given = outside.reduce(0) { $0 + max(0, surplus($1)) }
        let needed = outside.reduce(0) { $0 + max(0, -surplus($1)) }
        let givers = staying.filter {
            surplus($0) > 0 && (needed > given || isOutside($0))
        }
        let takers = staying.filter {
            surplus($0) < 0 && (needed < given || isOutside($0))
        }
        carryOut(transfers(from: givers, to: takers))
    }

    /// Helps shards that are still outside the tolerance by single slots; it matters when slots are
    /// few and heavy.
    mutating func refine() {
        var candidates = Set(members { weights[$0] > 0 })
        var last: [Change] = []
        for _ in 0..<4 * weights.count {
            let giver = candidates.filter { isOutside($0) && surplus($0) > 0 }
                .max { (surplus($0), $1) < (surplus($1), $0) }
            let taker = candidates.filter { surplus($0) < 0 }
                .max { (-surplus($0), $1) < (-surplus($1), $0) }
            guard let giver, let taker else { break }
            let (over, under) = (surplus(giver), -surplus(taker))
            let best = movable(of: giver).filter { load[$0] < (over + under) * (1 - Self.slack) }
                .min {
                    (distance($0, over, under), load[$0]) < (distance($1, over, under), load[$1])
                }
            guard let best else {
                candidates.remove(giver)
                continue
            }
            if load[best] <= min(over, under) {
                give(best, to: taker)
            } else {
                // Both change sides, so this comes after everything else they do.
                last.append(Change(slot: best, source: giver, target: taker))
                candidates.subtract([giver, taker])
            }
        }
        nextStage()
        for change in last { give(change.slot, to: change.target) }
    }

    private func distance(_ slot: Int, _ over: Double, _ under: Double) -> Double {
        abs(over - load[slot]) + abs(under - load[slot])
    }

    /// What two sums of the same loads may differ by, as a part.
    private static let slack = 1e-9

    func surplus(_ member: Int) -> Double {
        let difference = held[member] - quotas[member]
        return abs(difference) <= total / Double(weights.count) * Self.slack ? 0 : difference
    }

    private func isOutside(_ member: Int) -> Bool {
        abs(surplus(member)) > tolerance * quotas[member]
    }

    /// The shard with the most room for its weight.
    private var emptiest: Int? {
        members { weights[$0] > 0 }.max { one, other in
            let first = -surplus(one) / Double(weights[one])
            let second = -surplus(other) / Double(weights[other])
            return (first, other) < (second, one)
        }
    }

    /// An amount of load from one member to others.
    private struct Transfer {
        var source: Int
        var targets: [(member: Int, amount: Double)] = []
    }

    /// Who gives how much to whom: those furthest off first, in as few pairs as possible.
    private func transfers(from givers: [Int], to takers: [Int]) -> [Transfer] {
        func urgent(_ one: Int, _ other: Int) -> Bool {
            let first = (isOutside(one) ? 0.0 : 1.0, -abs(surplus(one)), one)
            return first < (isOutside(other) ? 0.0 : 1.0, -abs(surplus(other)), other)
        }
        var room = takers.sorted(by: urgent).map { (member: $0, amount: -surplus($0)) }[...]
        let least = measure == .slots ? 0 : total / Double(weights.count) * 1e-4
        return givers.sorted(by: urgent).map { giver in
            var transfer = Transfer(source: giver)
            var left = surplus(giver)
            while left > least, let next = room.first {
                let amount = min(left, next.amount)
                transfer.targets.append((next.member, amount))
                left -= amount
                room[room.startIndex].amount -= amount
                if room[room.startIndex].amount <= least { room.removeFirst() }
            }
            return transfer
        }
    }

    /// Chooses the slots. Of heavy and of light ones a like part goes, so that the shards' numbers
    /// of slots come near their quotas too: rooms that are made later are spread by slots.
    private mutating func carryOut(_ transfers: [Transfer]) {
        var slots = [[Int]](repeating: [], count: weights.count)
        for slot in owners.indices where !isFixed[slot] { slots[owners[slot]].append(slot) }
        for transfer in transfers where !transfer.targets.isEmpty {
            let source = transfer.source
            let ordered = slots[source].sorted { (load[$1], $0) < (load[$0], $1) }
            let sum = ordered.reduce(0) { $0 + load[$1] }
            let leaving = transfer.targets.reduce(0) { $0 + $1.amount }
            let choices = [(member: source, amount: max(0, sum - leaving))] + transfer.targets
            var left = choices.map(\.amount)
            var credit = [Double](repeating: 0, count: choices.count)
            let slack = total * Self.slack / Double(weights.count)
            for slot in ordered {
                var best: Int?
                for choice in choices.indices {
                    credit[choice] += load[slot] * choices[choice].amount / sum
                    if load[slot] <= left[choice] + slack,
                        best.map({ credit[choice] > credit[$0] }) ?? true
                    {
                        best = choice
                    }
                }
                let choice = best ?? 0
                left[choice] -= load[slot]
                credit[choice] -= load[slot]
                give(slot, to: choices[choice].member)
            }
        }
    }
}
