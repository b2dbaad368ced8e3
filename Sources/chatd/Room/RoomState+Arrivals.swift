import FoundationEssentials

/// How a room takes messages that have just become known.
extension RoomState {
    /// Inserts and delivers what has arrived, as far as its turn has come.
    mutating func admit(_ now: Instant, _ actions: inout [Action]) {
        while let arrival = arrivals.next(
            head: window.head,
            isWhole: window.isAnchored && !window.hasGap && !reads.isFailing, now: now)
        {
            let isNew = insert(
                arrival.message, isCommitted: arrival.isCommitted, now, &actions)
            // The other servers hear of what a shard has told this one, in the same order; what has
            // waited may have been read here meanwhile, and not there.
            if arrival.isCommitted, isNew || arrival.since < now {
                actions.append(.publish(arrival.message))
            }
        }
    }

    /// Inserts a message that has just become known and delivers it.
    ///
    /// - Parameter isCommitted: whether a shard has just told this server. Another server's word may
    ///   be older than what is here; when they differ the shard is read.
    /// - Returns: whether the window lacked it.
    private mutating func insert(
        _ told: RoomEvent, isCommitted: Bool, _ now: Instant, _ actions: inout [Action]
    ) -> Bool {
        guard case .message(let seq, let id, let author, let frame, let event) = told else {
            return false
        }
        let entry = Window.Entry(
            seq: seq, id: id, author: author, frame: showable(frame, of: id), arrivedAt: now,
            ordinal: ordinal + 1, writtenAt: now)
        switch window.insert(entry) {
        case .inserted: break
        case .known, .old: return false
        case .contradicted:
            reads.contradicted()
            guard isCommitted else { return false }
            window.replace(with: entry)
        }
        wants.appeared(id)
        ordinal += 1
        actions.append(.deliver(entry.frame, .message(ordinal: ordinal)))
        if let event { obey(event, seq: seq, &actions) }
        return true
    }
}
