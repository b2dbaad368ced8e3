import DequeModule
import Synchronization

/// Holds the waiting messages and hands batches to the lanes that ask for them.
///
/// There is no timer in the way of a message: an idle shard gets a single one at once. While a batch
/// is on its way the next one collects; another lane begins beside it when enough wait.
///
/// Every message that may go to the overflow goes there under the lock that also orders the queue,
/// so the order of a room is one order, wherever its messages wait.
final class WriteDispatcher: Sendable {
    typealias Instant = ContinuousClock.Instant
    typealias Sleeper = UnsafeContinuation<Void, Never>

    /// What a lane has on its way.
    struct Flight {
        var batch: WriteBatch
        let begun: Instant
        /// Since when the shard's answer is waited for; nil before and in between.
        var sent: Instant?
    }

    /// The ways to one shard.
    struct Lanes {
        var idle: [Sleeper] = []
        /// Lanes that were woken and have not looked yet.
        var waking = 0
        /// By the lane's number.
        var busy: [Int: Flight] = [:]
    }

    struct State {
        var queues: WriteQueues
        var circuits: [ShardID: WriteCircuit] = [:]
        var rates: [ShardID: WriteRate] = [:]
        var lanes: [ShardID: Lanes] = [:]
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
    struct Errands {
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

    let limits: RouterLimits
    let overflow: (any WriteOverflow)?
    let onCircuit: @Sendable (CircuitChange) -> Void
    let state: Mutex<State>

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
        wakeOne(shard, entry.start, &state, &errands)
    }

    /// The next batch for `lane`; nil when the dispatcher has stopped and nothing is left.
    func nextBatch(for lane: Lane) async -> WriteBatch? {
        var wasWoken = false
        while true {
            let now = ContinuousClock.now
            let (batch, isOver) = state.withLock { state in
                if wasWoken { state.lanes[lane.shard]?.waking -= 1 }
                return (takeBatch(for: lane, now, &state), isDrained(state))
            }
            if let batch { return batch }
            if isOver || Task.isCancelled { return nil }
            await withUnsafeContinuation { (continuation: Sleeper) in
                let mustGoOn = state.withLock { state in
                    if shouldBegin(lane.shard, .now, state) || Task.isCancelled || isDrained(state)
                    {
                        return true
                    }
                    state.lanes[lane.shard, default: Lanes()].idle.append(continuation)
                    return false
                }
                wasWoken = !mustGoOn
                if mustGoOn { continuation.resume() }
            }
        }
    }

    private func isDrained(_ state: State) -> Bool { state.isStopped && state.queues.isEmpty }

    private func takeBatch(
        for lane: Lane, _ now: Instant, _ state: inout State
    ) -> WriteBatch? {
        guard shouldBegin(lane.shard, now, state) else { return nil }
        let batch = state.queues.takeBatch(for: lane.shard)
        state.lanes[lane.shard, default: Lanes()].busy[lane.number] = Flight(
            batch: batch, begun: now)
        return batch
    }

    /// Whether a lane of `shard` should begin a batch: an idle shard gets a single message at once,
    /// while a busy one collects some.
    private func shouldBegin(_ shard: ShardID, _ now: Instant, _ state: State) -> Bool {
        guard state.queues.hasWork(for: shard) else { return false }
        guard let lanes = state.lanes[shard] else { return true }
        var waiting = state.queues.queuedRows(shard)
        var isBusy = lanes.waking > 0
        for flight in lanes.busy.values {
            waiting -= flight.batch.entries.count
            isBusy = isBusy || now - flight.begun < limits.laneDelay
        }
        return !isBusy || waiting >= limits.laneRows
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
        let now = ContinuousClock.now
        let errands = state.withLock { state in
            var errands = Errands()
            state.lanes[lane.shard]?.busy[lane.number] = nil
            for (run, verdict) in zip(batch.runs, verdicts) {
                let shard = state.queues.finish(
                    run.place, unsettled: verdict.unsettled, rows: verdict.settledRows,
                    bytes: verdict.settledBytes, next: verdict.next)
                if let shard { wakeOne(shard, now, &state, &errands) }
            }
            if isDrained(state) { wakeAll(&state, &errands) }
            return errands
        }
        errands.run(onCircuit)
    }

    /// Wakes a lane of `shard` if one should begin a batch.
    func wakeOne(
        _ shard: ShardID, _ now: Instant, _ state: inout State, _ errands: inout Errands
    ) {
        guard let lane = state.lanes[shard]?.idle.last, shouldBegin(shard, now, state) else {
            return
        }
        state.lanes[shard]?.idle.removeLast()
        state.lanes[shard]?.waking += 1
        errands.woken.append(lane)
    }

    func wakeAll(_ state: inout State, _ errands: inout Errands) {
        for shard in state.lanes.keys {
            let idle = state.lanes[shard]?.idle ?? []
            state.lanes[shard]?.idle = []
            state.lanes[shard]?.waking += idle.count
            errands.woken += idle
        }
    }

    /// Messages and bytes that wait for `shard` or are on their way.
    func load(of shard: ShardID) -> (rows: Int, bytes: Int) {
        state.withLock { ($0.queues.queuedRows(shard), $0.queues.queuedBytes(shard)) }
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
            for (shard, flight) in state.flights {
                for entry in flight.batch.entries
                where !entry.isDiverted.load(ordering: .acquiring) {
                    let error = WriteError.unavailable(
                        shard: shard, reason: reason, retryAfter: limits.overloadPause)
                    errands.failed.append((entry, error, shard, reason))
                }
            }
            for shard in state.lanes.keys { state.lanes[shard]?.busy = [:] }
            for entry in state.queues.takeAll() {
                errands.failed.append((entry, .stopped, ShardID(0), reason))
            }
            return errands
        }
        errands.run(onCircuit)
    }
}

extension WriteDispatcher.State {
    /// Everything that is on its way, each with its shard.
    var flights: [(shard: ShardID, flight: WriteDispatcher.Flight)] {
        lanes.flatMap { shard, lanes in lanes.busy.values.map { (shard, $0) } }
    }
}
