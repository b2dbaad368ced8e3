extension Planner {
    /// Slots that go from one member to another.
    private struct Pair: Hashable {
        var source: Int
        var target: Int
    }

    /// Cuts the changes of one stage into moves, ordered so that moves that follow one another
    /// touch different shards where that is possible.
    func cut(_ changes: [Balancing.Change]) -> [PlannedMove] {
        var slots: [Pair: [Int]] = [:]
        var pairs: [Pair] = []
        for change in changes {
            let pair = Pair(source: change.source, target: change.target)
            if slots[pair] == nil { pairs.append(pair) }
            slots[pair, default: []].append(change.slot)
        }
        var waiting = pairs.map { pair in
            (pair: pair, moves: pieces(slots[pair, default: []]).map { move($0, pair) }[...])
        }
        var lastUse = [Int](repeating: -1, count: members.count)
        var ordered: [PlannedMove] = []
        while !waiting.isEmpty {
            // The pair whose shards have rested longest; among those the one with most to do.
            let next = waiting.indices.min { one, other in
                let (first, second) = (waiting[one], waiting[other])
                let firstUse = max(lastUse[first.pair.source], lastUse[first.pair.target])
                let secondUse = max(lastUse[second.pair.source], lastUse[second.pair.target])
                let (firstSum, secondSum) = (
                    lastUse[first.pair.source] + lastUse[first.pair.target],
                    lastUse[second.pair.source] + lastUse[second.pair.target]
                )
                return (firstUse, firstSum, -first.moves.count, one)
                    < (secondUse, secondSum, -second.moves.count, other)
            }
            guard let next else { break }
            lastUse[waiting[next].pair.source] = ordered.count
            lastUse[waiting[next].pair.target] = ordered.count
            ordered.append(waiting[next].moves.removeFirst())
            if waiting[next].moves.isEmpty { waiting.remove(at: next) }
        }
        return ordered
    }

    /// Slots in their order, in sets that keep the limits.
    private func pieces(_ slots: [Int]) -> [[Int]] {
        var pieces: [[Int]] = [[]]
        var bytes: Int64 = 0
        for slot in slots.sorted() {
            let isFull =
                pieces[pieces.count - 1].count >= limits.slots
                || bytes + loads.bytes[slot] > limits.bytes
            if isFull, !pieces[pieces.count - 1].isEmpty {
                pieces.append([])
                bytes = 0
            }
            pieces[pieces.count - 1].append(slot)
            bytes += loads.bytes[slot]
        }
        return pieces
    }

    private func move(_ slots: [Int], _ pair: Pair) -> PlannedMove {
        var portion = Portion()
        for slot in slots { portion.add(slot, of: loads) }
        return PlannedMove(
            source: members[pair.source].name, target: members[pair.target].name, slots: slots,
            rows: portion.rows, bytes: portion.bytes)
    }
}
