import Synchronization

/// Holds the waiting messages and hands batches to the lanes that ask for them.
///
/// There is no timer in the way of a message: an idle lane takes a single one at once, and while
/// all lanes of a shard are busy the next batch collects.
final class WriteDispatcher: Sendable {
    private struct State {
        var queues: WriteQueues
        var idleLanes: [ShardID: [CheckedContinuation<Void, Never>]] = [:]
        /// What each lane has on its way; a lane's place is its key.
        var inFlight: [Lane: [PendingWrite]] = [:]
        var isStopped = false
    }

    /// One of the ways to a shard.
    struct Lane: Hashable {
        var shard: ShardID
        var number: Int
    }

    private let limits: RouterLimits
    private let state: Mutex<State>

    init(limits: RouterLimits) {
        self.limits = limits
        state = Mutex(State(queues: WriteQueues(limits: limits)))
    }

    /// Takes a message in, or tells its caller at once why not.
    func offer(_ entry: PendingWrite, owner: ShardID) {
        enum Answer {
            case taken([CheckedContinuation<Void, Never>])
            case refused(WriteError)
        }
        let answer = state.withLock { state -> Answer in
            if state.isStopped { return .refused(.stopped) }
            guard let shard = state.queues.offer(entry, owner: owner) else {
                return .refused(.overloaded(shard: owner, retryAfter: limits.overloadPause))
            }
            return .taken(Self.wakeOne(shard, &state))
        }
        switch answer {
        case .taken(let lanes): lanes.forEach { $0.resume() }
        case .refused(let error): entry.resolve(.failure(error))
        }
    }

    /// The next batch for `lane`; nil when the dispatcher has stopped and nothing is left.
    func nextBatch(for lane: Lane) async -> [PendingWrite]? {
        while true {
            let (batch, isOver) = state.withLock { state in
                let batch = state.queues.takeBatch(for: lane.shard)
                if !batch.isEmpty { state.inFlight[lane] = batch }
                return (batch, state.isStopped && state.queues.isEmpty)
            }
            if !batch.isEmpty { return batch }
            if isOver || Task.isCancelled { return nil }
            await withCheckedContinuation { continuation in
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

    /// The lane's batch has ended; `rooms` tells what becomes of what is unsettled.
    func finish(
        _ lane: Lane, _ rooms: [RoomID: (settled: [PendingWrite], unsettled: [PendingWrite])],
        next: (RoomID) -> WriteQueues.Continuation
    ) {
        let continuations = rooms.keys.reduce(into: [:]) { $0[$1] = next($1) }
        let woken = state.withLock { state in
            state.inFlight[lane] = nil
            var woken: [CheckedContinuation<Void, Never>] = []
            for (room, outcome) in rooms {
                let shard = state.queues.finish(
                    room, settled: outcome.settled, unsettled: outcome.unsettled,
                    next: continuations[room] ?? .here)
                if let shard { woken += Self.wakeOne(shard, &state) }
            }
            if state.isStopped, state.queues.isEmpty { woken += Self.wakeAll(&state) }
            return woken
        }
        woken.forEach { $0.resume() }
    }

    /// Ends patience that is over and lets rooms go on whose block has ended.
    func sweep(now: ContinuousClock.Instant, owner: (PendingWrite) -> ShardID?) {
        let (late, woken) = state.withLock { state in
            var late = state.queues.expired(now)
            for (lane, entries) in state.inFlight {
                late += entries.filter { $0.deadline <= now }.map { ($0, lane.shard) }
            }
            var woken: [CheckedContinuation<Void, Never>] = []
            for shard in state.queues.unblock(now, owner: owner) {
                woken += Self.wakeOne(shard, &state)
            }
            if state.isStopped, state.queues.isEmpty { woken += Self.wakeAll(&state) }
            return (late, woken)
        }
        for (entry, shard) in late {
            entry.expire(shard: shard, reason: "the shard did not answer in time")
        }
        woken.forEach { $0.resume() }
    }

    /// Takes nothing new; what waits still goes out.
    func stop() {
        let woken = state.withLock { state in
            state.isStopped = true
            return Self.wakeAll(&state)
        }
        woken.forEach { $0.resume() }
    }

    /// Tells every caller who still waits that nobody will store the message.
    func abandon() {
        let left = state.withLock { state in
            state.isStopped = true
            let inFlight = state.inFlight.flatMap { lane, entries in
                entries.map { ($0, Optional(lane.shard)) }
            }
            state.inFlight = [:]
            return inFlight + state.queues.takeAll().map { ($0, nil) }
        }
        for (entry, shard) in left {
            if let shard {
                entry.expire(shard: shard, reason: "the router was stopped")
            } else {
                entry.resolve(.failure(.stopped))
            }
        }
    }

    private static func wakeOne(
        _ shard: ShardID, _ state: inout State
    ) -> [CheckedContinuation<Void, Never>] {
        guard let lane = state.idleLanes[shard]?.popLast() else { return [] }
        return [lane]
    }

    private static func wakeAll(_ state: inout State) -> [CheckedContinuation<Void, Never>] {
        defer { state.idleLanes = [:] }
        return state.idleLanes.values.flatMap { $0 }
    }
}
