import FoundationEssentials

/// What a room does about messages that its clients have and its shard has not.
extension RoomState {
    /// A client's word that it has everything up to a `seq` which this server does not know.
    struct Claim {
        var upTo: Int64
        var since: Instant
    }

    /// From where on a client is asked what it has: not from the head on, because numbers may have
    /// been given a second time below it.
    private var doubtful: Int64 {
        max(window.floor ?? 0, window.head - limits.room.want.overlap)
    }

    /// Notes what a heartbeat says beyond what this server knows.
    mutating func note(
        _ report: Heartbeat.Report, from id: MemberID, canVerify: Bool, _ now: Instant
    ) {
        if let upTo = report.upTo, upTo > window.head {
            let isDisproved = reads.claimed(upTo, now: now)
            if canVerify, isDisproved {
                wants.doubted(by: id, above: doubtful, now: now)
            } else if canVerify {
                claims[id] = Claim(upTo: upTo, since: now)
            }
        }
        guard canVerify, window.isAnchored else { return }
        switch report {
        case .nothing: break
        case .ids(let ids, upTo: _):
            claims[id] = nil
            wants.reported(window.lacking(ids), by: id, now: now)
        case .compact(let upTo, let count, digest: _):
            // Whatever has a place here has it from the start: this server knows of no message
            // without one.
            guard count > 0 else { break }
            wants.doubted(by: id, above: min(upTo, doubtful), now: now)
        }
    }

    /// The shard was read up to its newest message: who claims more is asked what it has.
    mutating func settleClaims(_ now: Instant) {
        guard !claims.isEmpty, let start = reads.lastStart else { return }
        var highest: Int64 = 0
        for (id, claim) in claims where claim.since <= start {
            claims[id] = nil
            guard claim.upTo > window.newest else { continue }
            highest = max(highest, claim.upTo)
            wants.doubted(by: id, above: doubtful, now: now)
        }
        if highest > 0 { reads.disprove(highest, now: now) }
    }

    mutating func considerAsking(_ now: Instant, _ actions: inout [Action]) {
        actions += wants.next(now: now).flatMap { action -> [Action] in
            switch action {
            case .lookUp(let ids): [.lookUp(ids)]
            case .ask(let member, let ids):
                [.want(ids, above: nil, of: member), .publish(.wanting(ids))]
            case .askReport(let member, let above): [.want([], above: above, of: member)]
            }
        }
    }

    // MARK: Outcomes

    /// The shard has these of the ids that were looked up; nil when it could not be asked.
    mutating func lookedUp(_ known: Set<UUID>?, now: Instant) -> [Action] {
        if let known { wants.lookedUp(known, now: now) } else { wants.lookUpFailed() }
        var actions: [Action] = []
        considerAsking(now, &actions)
        return actions
    }

    /// A message that a client gave back is stored.
    mutating func restored(_ id: UUID, now: Instant) -> [Action] {
        wants.stored(id, now: now)
        var actions: [Action] = []
        considerAsking(now, &actions)
        return actions
    }

    /// A message that a client gave back is not stored.
    mutating func notRestored(_ id: UUID, isFinal: Bool, now: Instant) -> [Action] {
        wants.failed(id, isFinal: isFinal, now: now)
        var actions: [Action] = []
        considerAsking(now, &actions)
        return actions
    }

    /// A client gave back what nobody of the cluster has signed.
    mutating func forged(_ id: UUID, by member: MemberID, now: Instant) -> [Action] {
        wants.forged(id, by: member, now: now)
        var actions: [Action] = []
        considerAsking(now, &actions)
        return actions
    }
}

extension Heartbeat.Report {
    /// Up to where the client says that it has everything.
    var upTo: Int64? {
        switch self {
        case .nothing: nil
        case .ids(_, let upTo): upTo
        case .compact(let upTo, count: _, digest: _): upTo
        }
    }
}
