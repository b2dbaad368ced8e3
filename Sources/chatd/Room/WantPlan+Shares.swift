import FoundationEssentials

/// Shares of the candidates, and turns at being asked.
extension WantPlan {
    /// Takes in ids that nobody else has reported, as many as the share of `member` allows.
    ///
    /// - Returns: how many.
    mutating func add(_ ids: [UUID], of member: MemberID) -> Int {
        var count = min(ids.count, limits.memberCandidates - (shares[member] ?? 0))
        let free = limits.candidates - candidates.count
        if count > free { count = free + makeRoom(count - free, for: member) }
        guard count > 0 else { return 0 }
        for id in ids.prefix(count) {
            lastNumber += 1
            candidates[id] = Candidate(number: lastNumber, reporters: [member], owner: member)
        }
        shares[member, default: 0] += count
        return count
    }

    /// Drops the newest candidates of those who have more than an equal share, for one who has less.
    private mutating func makeRoom(_ count: Int, for member: MemberID) -> Int {
        let share = shares[member] ?? 0
        let owners = shares.count + (share == 0 ? 1 : 0)
        let equal = max(1, limits.candidates / owners)
        let wanted = min(count, equal - share)
        guard wanted > 0 else { return 0 }
        let newest = candidates.filter { $0.value.canGiveWay && $0.value.owner != member }
            .sorted { $0.value.number > $1.value.number }
        var made = 0
        for (id, candidate) in newest where shares[candidate.owner, default: 0] > equal {
            guard made < wanted else { break }
            drop(id)
            made += 1
        }
        return made
    }

    mutating func drop(_ id: UUID) {
        if let candidate = candidates.removeValue(forKey: id) { countOut(candidate.owner) }
    }

    mutating func countOut(_ owner: MemberID) {
        let rest = (shares[owner] ?? 1) - 1
        shares[owner] = rest > 0 ? rest : nil
    }

    /// Up to `count` candidates, as many of each owner as of the others, in the order of reporting.
    func inTurn(_ count: Int, where isMeant: (Candidate) -> Bool) -> [UUID] {
        let meant = oldest(.max, where: isMeant)
        guard meant.count > count else { return meant }
        var taken: [MemberID: Int] = [:]
        let ranked = meant.enumerated().map { place, id in
            let owner = candidates[id]?.owner ?? MemberID(number: 0)
            taken[owner, default: 0] += 1
            return (rank: taken[owner, default: 0], place: place)
        }
        return ranked.sorted { ($0.rank, $0.place) < ($1.rank, $1.place) }.prefix(count)
            .map(\.place).sorted().map { meant[$0] }
    }

    /// Who is asked next: whoever was not asked for longest.
    func nextMember() -> MemberID? {
        var best: (turn: UInt64, number: UInt64, member: MemberID)?
        for candidate in candidates.values where candidate.phase == .missing {
            for member in candidate.reporters {
                let turn = turns[member] ?? 0
                if let best, (best.turn, best.number) <= (turn, candidate.number) { continue }
                best = (turn, candidate.number, member)
            }
        }
        return best?.member
    }
}
