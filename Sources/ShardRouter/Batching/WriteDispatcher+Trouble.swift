import Synchronization

// MARK: - Circuits

extension WriteDispatcher {
    /// A batch of `lane` is on its way since `start`.
    func sent(_ lane: Lane, at start: Instant) {
        state.withLock { $0.lanes[lane.shard]?.busy[lane.number]?.sent = start }
    }

    /// An attempt of `lane` has ended, and not by the fault of its shard.
    func ended(_ lane: Lane) {
        state.withLock { $0.lanes[lane.shard]?.busy[lane.number]?.sent = nil }
    }

    /// The shard has answered an attempt with `rows` messages that began at `start`.
    func succeeded(_ lane: Lane, rows: Int, start: Instant) {
        let now = ContinuousClock.now
        let isClosing = state.withLock { state in
            state.lanes[lane.shard]?.busy[lane.number]?.sent = nil
            state.rates[lane.shard, default: WriteRate()].add(rows, in: now - start)
            return state.circuits[lane.shard, default: WriteCircuit(limits: limits.circuit)]
                .succeeded(now: now)
        }
        if isClosing { onCircuit(.closed(lane.shard)) }
    }

    /// An attempt of `lane` that began at `start` has failed, and not by the fault of a message.
    ///
    /// While the circuit of the shard is open, everything that waits for it, or is on its way, goes
    /// to the overflow in the order of the rooms; what may not is told.
    ///
    /// - Returns: whether the circuit is open now.
    func failed(_ lane: Lane, start: Instant, reason: String) -> Bool {
        let now = ContinuousClock.now
        let (errands, isOpen) = state.withLock { state in
            var errands = Errands()
            state.lanes[lane.shard]?.busy[lane.number]?.sent = nil
            let isOpen = failed(lane.shard, start, now, reason, &state, &errands)
            return (errands, isOpen)
        }
        errands.run(onCircuit)
        return isOpen
    }

    private func failed(
        _ shard: ShardID, _ start: Instant, _ now: Instant, _ reason: String,
        _ state: inout State, _ errands: inout Errands
    ) -> Bool {
        var circuit = state.circuits[shard] ?? WriteCircuit(limits: limits.circuit)
        let wasOpen = circuit.isOpen
        _ = circuit.failed(start: start, now: now, jitter: .random(in: 0.5...1))
        state.circuits[shard] = circuit
        // Also when it was open: rooms may have been sent here from another shard.
        if circuit.isOpen { giveUp(shard, &state, &errands) }
        if circuit.isOpen, !wasOpen { errands.circuits.append(.opened(shard, reason: reason)) }
        return circuit.isOpen
    }

    /// Whether messages are turned away from `shard`.
    func isOpen(_ shard: ShardID) -> Bool {
        state.withLock { $0.circuits[shard]?.isOpen ?? false }
    }

    private func giveUp(_ shard: ShardID, _ state: inout State, _ errands: inout Errands) {
        if overflow != nil {
            for flight in (state.lanes[shard]?.busy ?? [:]).values {
                for entry in flight.batch.entries where entry.mayOverflow && !entry.isOver {
                    divert(entry, shard, &state, &errands)
                }
            }
        }
        for entry in state.queues.takeAll(for: shard) where !entry.isOver {
            divert(entry, shard, &state, &errands)
        }
    }

    /// Hands a message to the overflow if it may go there, else refuses it.
    func divert(
        _ entry: PendingWrite, _ shard: ShardID, retryAfter: Duration? = nil,
        _ state: inout State, _ errands: inout Errands
    ) {
        let retryAfter = retryAfter ?? limits.circuit.firstPause
        if entry.mayOverflow, let overflow {
            state.diverted.append((entry, shard, .now + limits.overflow))
            entry.divert(to: overflow, shard: shard, retryAfter: limits.longestOverloadPause)
        } else {
            let reason = "the shard does not answer"
            let error = WriteError.unavailable(
                shard: shard, reason: reason, retryAfter: retryAfter)
            errands.failed.append((entry, error, shard, reason))
        }
    }
}

// MARK: - Time

extension WriteDispatcher {
    /// Ends patience that is over and lets rooms go on whose block has ended.
    func sweep(now: Instant, owner: (PendingWrite) -> ShardID?) {
        let errands = state.withLock { state in
            var errands = Errands()
            noticeStalls(now, &state, &errands)
            expire(now, &state, &errands)
            expireDiverted(now, &state, &errands)
            _ = state.queues.unblock(now, owner: owner)
            for shard in state.lanes.keys { wakeOne(shard, now, &state, &errands) }
            if state.isStopped, state.queues.isEmpty { wakeAll(&state, &errands) }
            return errands
        }
        errands.run(onCircuit)
    }

    private func expire(_ now: Instant, _ state: inout State, _ errands: inout Errands) {
        var (late, kept) = state.queues.expired(now) { $0.mayOverflow && overflow != nil }
        for (shard, flight) in state.flights {
            for entry in flight.batch.entries where entry.deadline <= now && !entry.isOver {
                if entry.mayOverflow, overflow != nil {
                    kept.append(entry)
                } else {
                    late.append((entry, shard))
                }
            }
        }
        for (entry, shard) in late {
            let reason = "the shard did not answer in time"
            let error = WriteError.unavailable(
                shard: shard, reason: reason, retryAfter: limits.overloadPause)
            errands.failed.append((entry, error, shard, reason))
        }
        divertAll(of: Set(kept.map(\.message.room)), &state, &errands)
    }

    /// A message of each of `rooms` could not wait any longer: all of them go to the overflow, so
    /// that none overtakes it.
    private func divertAll(
        of rooms: Set<RoomID>, _ state: inout State, _ errands: inout Errands
    ) {
        guard !rooms.isEmpty else { return }
        for (shard, flight) in state.flights {
            for entry in flight.batch.entries
            where entry.mayOverflow && !entry.isOver && rooms.contains(entry.message.room) {
                divert(entry, shard, &state, &errands)
            }
        }
        for (entry, shard) in state.queues.takeAll(of: rooms) {
            divert(entry, shard, &state, &errands)
        }
    }

    /// A shard that hangs is given up before its attempts end, which takes them long.
    private func noticeStalls(_ now: Instant, _ state: inout State, _ errands: inout Errands) {
        for (shard, flight) in state.flights {
            let circuit = state.circuits[shard] ?? WriteCircuit(limits: limits.circuit)
            guard let start = flight.sent, circuit.isStalled(since: start, now: now) else {
                continue
            }
            _ = failed(shard, start, now, "the shard does not answer", &state, &errands)
        }
    }

    /// An overflow that does not answer must not hold its callers for ever. What it does later with
    /// the message is safe: the id is the same.
    private func expireDiverted(
        _ now: Instant, _ state: inout State, _ errands: inout Errands
    ) {
        while let (entry, shard, until) = state.diverted.first, entry.isResolved || until <= now {
            state.diverted.removeFirst()
            guard !entry.isResolved else { continue }
            entry.mayHaveRun.store(true, ordering: .releasing)
            let reason = "the shard is out of reach and the overflow did not answer in time"
            errands.failed.append(
                (entry, .unknownOutcome(shard: shard, reason: reason), shard, reason))
        }
    }
}
