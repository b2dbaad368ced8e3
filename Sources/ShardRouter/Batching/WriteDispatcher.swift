import DequeModule
import Synchronization

/// Holds the waiting messages and hands batches to the lanes that ask for them.
///
/// There is no timer in the way of a message: an idle lane takes a single one at once, and while
/// all lanes of a shard are busy the next batch collects.
///
/// Every message that may go to the overflow goes there under the lock that also orders the queue,
/// so the order of a room is one order, wherever its messages wait.
final class WriteDispatcher: Sendable {
    typealias Instant = ContinuousClock.Instant
    private typealias Sleeper = UnsafeContinuation<Void, Never>

    private struct State {
        var queues: WriteQueues
        var circuits: [ShardID: WriteCircuit] = [:]
        var rates: [ShardID: WriteRate] = [:]
        var idleLanes: [ShardID: [Sleeper]] = [:]
        /// What each lane has on its way.
        var inFlight: [Lane: WriteBatch] = [:]
        /// Since when each lane waits for its shard's answer.
        var sent: [Lane: Instant] = [:]
        /// What the overflow was asked to take, and until when its callers wait for that.
        var diverted: Deque<(entry: PendingWrite, shard: ShardID, until: Instant)> = []
        var isStopped = false
    }

    /// One of the ways to a shard.
    struct Lane: Hashable {
        var shard: ShardID
        var number: Int
    }

    /// What is to be done when the lock is open again.
    private struct Errands {
        var woken: [Sleeper] = []
        var failed: [(entry: PendingWrite, error: WriteError, shard: ShardID, reason: String)] = []
        var circuits: [CircuitChange] = []

        func run(_ onCircuit: (CircuitChange) -> Void) {
            circuits.forEach(onCircuit)
            for (entry, error, shard, reason) in failed {
                entry.fail(error, shard: shard, reason: reason)
            }
            woken.forEach { $0.resume() }
        }
    }

    private let limits: RouterLimits
    private let overflow: (any WriteOverflow)?
    private let onCircuit: @Sendable (CircuitChange) -> Void
    private let state: Mutex<State>

    /// - Parameter onCircuit: told when messages begin to be turned away from a shard, and when
    ///   that ends.
    init(
        limits: RouterLimits, overflow: (any WriteOverflow)? = nil,
        onCircuit: @escaping @Sendable (CircuitChange) -> Void = { _ in }
    ) {
        self.limits = limits
        self.overflow = overflow
        self.onCircuit = onCircuit
        state = Mutex(State(queues: WriteQueues(limits: limits)))
    }

    /// Takes a message in, hands it to the overflow, or tells its caller at once why not.
    func offer(_ entry: PendingWrite, owner: ShardID) {
        let errands = state.withLock { state -> Errands in
            var errands = Errands()
            offer(entry, owner, &state, &errands)
            return errands
        }
        errands.run(onCircuit)
    }

    /// Takes messages of one room in, in order. Once one is refused, so are all after it: none may
    /// overtake it.
    func offer(_ sequence: [PendingWrite], owner: ShardID) {
        let errands = state.withLock { state -> Errands in
            var errands = Errands()
            for (index, entry) in sequence.enumerated() {
                offer(entry, owner, &state, &errands)
                guard let (_, error, shard, reason) = errands.failed.first else { continue }
                for later in sequence[(index + 1)...] {
                    errands.failed.append((later, error, shard, reason))
                }
                break
            }
            return errands
        }
        errands.run(onCircuit)
    }

    private func offer(
        _ entry: PendingWrite, _ owner: ShardID, _ state: inout State, _ errands: inout Errands
    ) {
        func refuse(_ error: WriteError, _ reason: String) {
            errands.failed.append((entry, error, owner, reason))
        }
        if state.isStopped { return refuse(.stopped, "the router was stopped") }
        if entry.mayOverflow, let overflow, overflow.holds(entry.message.room) {
            return divert(entry, owner, &state, &errands)
        }
        let shard = state.queues.shard(of: entry.message.room) ?? owner
        if state.circuits[shard]?.isOpen == true {
            // What the overflow holds is tried again by whoever drains it. Messages that may go
            // there try themselves only when nobody else does: it may be full of other shards'.
            let mayTry =
                !entry.mayOverflow
                || state.circuits[shard]?.isOverdue(now: entry.start) == true
            guard mayTry else { return divert(entry, shard, &state, &errands) }
            if case .refused(let retryAfter)? = state.circuits[shard]?.ask(now: entry.start) {
                return divert(entry, shard, retryAfter: retryAfter, &state, &errands)
            }
        }
        guard let shard = state.queues.offer(entry, owner: owner) else {
            let waiting = state.queues.queuedRows(shard)
            let pause = state.rates[shard]?.duration(of: waiting / 2) ?? .zero
            let hint = min(max(pause, limits.overloadPause), limits.longestOverloadPause)
            return refuse(.overloaded(shard: shard, retryAfter: hint), "the queue is full")
        }
        wakeOne(shard, &state, &errands)
    }

    /// The next batch for `lane`; nil when the dispatcher has stopped and nothing is left.
    func nextBatch(for lane: Lane) async -> WriteBatch? {
        while true {
            let (batch, isOver) = state.withLock { state in
                let batch = state.queues.takeBatch(for: lane.shard)
                if !batch.isEmpty { state.inFlight[lane] = batch }
                return (batch, state.isStopped && state.queues.isEmpty)
            }
            if !batch.isEmpty { return batch }
            if isOver || Task.isCancelled { return nil }
            await withUnsafeContinuation { (continuation: Sleeper) in
                let mustGoOn = state.withLock { state in
                    let hasWork = state.queues.hasWork(for: lane.shard)
                    let isOver = Task.isCancelled || (state.isStopped && state.queues.isEmpty)
                    if hasWork || isOver { return true }
                    state.idleLanes[lane.shard, default: []].append(continuation)
                    return false
                }
                if mustGoOn { continuation.resume() }
            }
        }
    }

    /// What becomes of the messages of one room after a batch.
    struct Verdict {
        var unsettled: [PendingWrite]
        var settledRows: Int
        var settledBytes: Int
        var next: WriteQueues.Continuation
    }

    /// The lane's batch has ended; `verdicts` has one entry for each of its runs.
    func finish(_ lane: Lane, _ batch: WriteBatch, _ verdicts: [Verdict]) {
        let errands = state.withLock { state in
            var errands = Errands()
            state.inFlight[lane] = nil
            for (run, verdict) in zip(batch.runs, verdicts) {
                let shard = state.queues.finish(
                    run.place, unsettled: verdict.unsettled, rows: verdict.settledRows,
                    bytes: verdict.settledBytes, next: verdict.next)
                if let shard { wakeOne(shard, &state, &errands) }
            }
            if state.isStopped, state.queues.isEmpty { wakeAll(&state, &errands) }
            return errands
        }
        errands.run(onCircuit)
    }
}

// MARK: - Circuits

extension WriteDispatcher {
    /// A batch of `lane` is on its way since `start`.
    func sent(_ lane: Lane, at start: Instant) {
        state.withLock { $0.sent[lane] = start }
    }

    /// An attempt of `lane` has ended, and not by the fault of its shard.
    func ended(_ lane: Lane) {
        state.withLock { $0.sent[lane] = nil }
    }

    /// The shard has answered an attempt with `rows` messages that began at `start`.
    func succeeded(_ lane: Lane, rows: Int, start: Instant) {
        let now = ContinuousClock.now
        let isClosing = state.withLock { state in
            state.sent[lane] = nil
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
            state.sent[lane] = nil
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
            for (lane, batch) in state.inFlight where lane.shard == shard {
                for entry in batch.entries where entry.mayOverflow && !entry.isOver {
                    divert(entry, shard, &state, &errands)
                }
            }
        }
        for entry in state.queues.takeAll(for: shard) where !entry.isOver {
            divert(entry, shard, &state, &errands)
        }
    }

    /// Hands a message to the overflow if it may go there, else refuses it.
    private func divert(
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
            for shard in state.queues.unblock(now, owner: owner) {
                wakeOne(shard, &state, &errands)
            }
            if state.isStopped, state.queues.isEmpty { wakeAll(&state, &errands) }
            return errands
        }
        errands.run(onCircuit)
    }

    private func expire(_ now: Instant, _ state: inout State, _ errands: inout Errands) {
        var (late, kept) = state.queues.expired(now) { $0.mayOverflow && overflow != nil }
        for (lane, batch) in state.inFlight {
            for entry in batch.entries where entry.deadline <= now && !entry.isOver {
                if entry.mayOverflow, overflow != nil {
                    kept.append(entry)
                } else {
                    late.append((entry, lane.shard))
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
        for (lane, batch) in state.inFlight {
            for entry in batch.entries
            where entry.mayOverflow && !entry.isOver && rooms.contains(entry.message.room) {
                divert(entry, lane.shard, &state, &errands)
            }
        }
        for (entry, shard) in state.queues.takeAll(of: rooms) {
            divert(entry, shard, &state, &errands)
        }
    }

    /// A shard that hangs is given up before its attempts end, which takes them long.
    private func noticeStalls(_ now: Instant, _ state: inout State, _ errands: inout Errands) {
        for (lane, start) in state.sent {
            let circuit = state.circuits[lane.shard] ?? WriteCircuit(limits: limits.circuit)
            guard circuit.isStalled(since: start, now: now) else { continue }
            _ = failed(lane.shard, start, now, "the shard does not answer", &state, &errands)
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

    /// Takes nothing new; what waits still goes out.
    func stop() {
        let errands = state.withLock { state in
            var errands = Errands()
            state.isStopped = true
            wakeAll(&state, &errands)
            return errands
        }
        errands.run(onCircuit)
    }

    /// Tells every caller who still waits that nobody will store the message.
    func abandon() {
        let errands = state.withLock { state in
            var errands = Errands()
            let reason = "the router was stopped"
            state.isStopped = true
            for (lane, batch) in state.inFlight {
                for entry in batch.entries where !entry.isDiverted.load(ordering: .acquiring) {
                    let error = WriteError.unavailable(
                        shard: lane.shard, reason: reason, retryAfter: limits.overloadPause)
                    errands.failed.append((entry, error, lane.shard, reason))
                }
            }
            state.inFlight = [:]
            for entry in state.queues.takeAll() {
                errands.failed.append((entry, .stopped, ShardID(0), reason))
            }
            return errands
        }
        errands.run(onCircuit)
    }

    /// Messages and bytes that wait for `shard` or are on their way.
    func load(of shard: ShardID) -> (rows: Int, bytes: Int) {
        state.withLock { ($0.queues.queuedRows(shard), $0.queues.queuedBytes(shard)) }
    }

    private func wakeOne(_ shard: ShardID, _ state: inout State, _ errands: inout Errands) {
        if let lane = state.idleLanes[shard]?.popLast() { errands.woken.append(lane) }
    }

    private func wakeAll(_ state: inout State, _ errands: inout Errands) {
        errands.woken += state.idleLanes.values.flatMap { $0 }
        state.idleLanes = [:]
    }
}
