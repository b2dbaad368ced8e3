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

        func run() {
            for (entry, error, shard, reason) in failed {
                entry.fail(error, shard: shard, reason: reason)
            }
            woken.forEach { $0.resume() }
        }
    }

    private let limits: RouterLimits
    private let overflow: (any WriteOverflow)?
    private let state: Mutex<State>

    init(limits: RouterLimits, overflow: (any WriteOverflow)? = nil) {
        self.limits = limits
        self.overflow = overflow
        state = Mutex(State(queues: WriteQueues(limits: limits)))
    }

    /// Takes a message in, hands it to the overflow, or tells its caller at once why not.
    func offer(_ entry: PendingWrite, owner: ShardID) {
        let errands = state.withLock { state -> Errands in
            var errands = Errands()
            offer(entry, owner, &state, &errands)
            return errands
        }
        errands.run()
    }

    private func offer(
        _ entry: PendingWrite, _ owner: ShardID, _ state: inout State, _ errands: inout Errands
    ) {
        func refuse(_ error: WriteError, _ reason: String) {
            errands.failed.append((entry, error, owner, reason))
        }
        if state.isStopped { return refuse(.stopped, "the router was stopped") }
        if entry.mayOverflow, let overflow, overflow.holds(entry.message.room) {
            return divert(entry, owner, &errands)
        }
        let shard = state.queues.shard(of: entry.message.room) ?? owner
        if state.circuits[shard]?.isOpen == true {
            // The overflow tries again by itself, so its messages need not be the ones that try.
            if entry.mayOverflow { return divert(entry, shard, &errands) }
            if case .refused(let retryAfter)? = state.circuits[shard]?.ask(now: entry.start) {
                return divert(entry, shard, retryAfter: retryAfter, &errands)
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
        errands.run()
    }
}

// MARK: - Circuits

extension WriteDispatcher {
    /// The shard has answered an attempt with `rows` messages.
    ///
    /// - Returns: whether the shard had been given up.
    func succeeded(_ lane: Lane, rows: Int, start: Instant) -> Bool {
        let now = ContinuousClock.now
        return state.withLock { state in
            state.rates[lane.shard, default: WriteRate()].add(rows, in: now - start)
            return state.circuits[lane.shard]?.succeeded() ?? false
        }
    }

    /// An attempt of `lane` that began at `start` has failed, and not by the fault of a message.
    ///
    /// When this opens the circuit of the shard, everything that waits for it, or is on its way,
    /// goes to the overflow in the order of the rooms; what may not is told.
    ///
    /// - Returns: whether the circuit is open now, and whether this opened it.
    func failed(_ lane: Lane, start: Instant) -> (isOpen: Bool, isNew: Bool) {
        let now = ContinuousClock.now
        let jitter = Double.random(in: 0.5...1)
        let (errands, isOpen, isNew) = state.withLock { state in
            var errands = Errands()
            var circuit = state.circuits[lane.shard] ?? WriteCircuit(limits: limits.circuit)
            let wasOpen = circuit.isOpen
            let isOpening = circuit.failed(start: start, now: now, jitter: jitter)
            state.circuits[lane.shard] = circuit
            if isOpening { giveUp(lane.shard, &state, &errands) }
            return (errands, circuit.isOpen, isOpening && !wasOpen)
        }
        errands.run()
        return (isOpen, isNew)
    }

    /// Whether messages are turned away from `shard`.
    func isOpen(_ shard: ShardID) -> Bool {
        state.withLock { $0.circuits[shard]?.isOpen ?? false }
    }

    private func giveUp(_ shard: ShardID, _ state: inout State, _ errands: inout Errands) {
        if overflow != nil {
            for (lane, batch) in state.inFlight where lane.shard == shard {
                for entry in batch.entries where entry.mayOverflow && !entry.isOver {
                    divert(entry, shard, &errands)
                }
            }
        }
        for entry in state.queues.takeAll(for: shard) where !entry.isOver {
            divert(entry, shard, &errands)
        }
    }

    /// Hands a message to the overflow if it may go there, else refuses it.
    private func divert(
        _ entry: PendingWrite, _ shard: ShardID, retryAfter: Duration? = nil,
        _ errands: inout Errands
    ) {
        let retryAfter = retryAfter ?? limits.circuit.firstPause
        if entry.mayOverflow, let overflow {
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
            expire(now, &state, &errands)
            for shard in state.queues.unblock(now, owner: owner) {
                wakeOne(shard, &state, &errands)
            }
            if state.isStopped, state.queues.isEmpty { wakeAll(&state, &errands) }
            return errands
        }
        errands.run()
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
        for room in Set(kept.map(\.message.room)) { divertAll(of: room, &state, &errands) }
    }

    /// One message of `room` could not wait any longer: all of them go to the overflow, so that
    /// none overtakes it.
    private func divertAll(
        of room: RoomID, _ state: inout State, _ errands: inout Errands
    ) {
        let shard = state.queues.shard(of: room) ?? ShardID(0)
        for batch in state.inFlight.values {
            for entry in batch.entries
            where entry.message.room == room && entry.mayOverflow && !entry.isOver {
                divert(entry, shard, &errands)
            }
        }
        for entry in state.queues.takeAll(of: room) { divert(entry, shard, &errands) }
    }

    /// Takes nothing new; what waits still goes out.
    func stop() {
        let errands = state.withLock { state in
            var errands = Errands()
            state.isStopped = true
            wakeAll(&state, &errands)
            return errands
        }
        errands.run()
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
        errands.run()
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

/// How fast a shard stores, smoothed over the last batches.
struct WriteRate {
    private var rowsPerSecond = 0.0

    mutating func add(_ rows: Int, in duration: Duration) {
        let seconds = max(duration / .seconds(1), 1e-6)
        let measured = Double(rows) / seconds
        rowsPerSecond = rowsPerSecond == 0 ? measured : rowsPerSecond * 0.9 + measured * 0.1
    }

    /// How long `rows` take at this rate.
    func duration(of rows: Int) -> Duration {
        rowsPerSecond > 0 ? .seconds(Double(rows) / rowsPerSecond) : .zero
    }
}
