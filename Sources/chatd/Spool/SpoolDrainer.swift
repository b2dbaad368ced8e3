import FoundationEssentials
import Logging
import ServiceLifecycle
import ShardRouter

/// Stores what waits in the spool: exactly once, each room in its order.
///
/// A message leaves the spool after its shard has answered. When the program ends in between, it is
/// stored again, which by its id changes nothing.
struct SpoolDrainer: Service {
    typealias Store = @Sendable ([Message], Duration) async -> [Result<Receipt, WriteError>]

    let spool: Spool
    let limits: SpoolLimits
    /// Stores messages of one room in its shard, past the overflow, none before one that was not.
    let store: Store
    /// Who is thought to own a room.
    let owner: @Sendable (RoomID) -> ShardID
    /// Told of every message that was stored.
    let onStored: @Sendable (Message, Receipt) -> Void
    let logger: Logger
    /// Whether to end when nothing waits any more.
    var endsWhenEmpty = false

    init(
        spool: Spool, limits: SpoolLimits = SpoolLimits(), logger: Logger,
        endsWhenEmpty: Bool = false, store: @escaping Store,
        owner: @escaping @Sendable (RoomID) -> ShardID,
        onStored: @escaping @Sendable (Message, Receipt) -> Void
    ) {
        self.spool = spool
        self.limits = limits
        self.logger = logger
        self.endsWhenEmpty = endsWhenEmpty
        self.store = store
        self.owner = owner
        self.onStored = onStored
    }

    /// Drains into the shards of `router`.
    init(
        spool: Spool, router: ShardRouter, logger: Logger, endsWhenEmpty: Bool = false,
        onStored: @escaping @Sendable (Message, Receipt) -> Void
    ) {
        self.init(
            spool: spool, logger: logger, endsWhenEmpty: endsWhenEmpty,
            store: { await router.storeInOrder($0, patience: $1) },
            owner: { router.route($0).shard ?? ShardID(0) }, onStored: onStored)
    }

    private enum Event: Sendable {
        case arrived(RoomID)
        case finished(RoomID, DrainPlan.Outcome)
        case time
        case stopped
    }

    func run() async throws {
        let (events, news) = AsyncStream<Event>.makeStream()
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                group.addTask {
                    for await room in spool.arrivals { news.yield(.arrived(room)) }
                    news.yield(.stopped)
                }
                await follow(events, news, &group)
                group.cancelAll()
            }
        } onGracefulShutdown: {
            news.yield(.stopped)
        }
    }

    private func follow(
        _ events: AsyncStream<Event>, _ news: AsyncStream<Event>.Continuation,
        _ group: inout DiscardingTaskGroup
    ) async {
        var plan = DrainPlan(limits: limits)
        var alarm: ContinuousClock.Instant?
        for await event in events {
            switch event {
            case .arrived(let room):
                plan.add(room, shard: owner(room))
            case .finished(let room, let outcome):
                plan.finished(
                    room, outcome, shard: owner(room), jitter: .random(in: 0.5...1), now: .now)
            case .time: alarm = nil
            case .stopped: return
            }
            for room in plan.next(now: .now) {
                group.addTask { news.yield(.finished(room, await drain(room))) }
            }
            if endsWhenEmpty, plan.isEmpty, spool.isEmpty { return }
            if let next = plan.nextTry, alarm.map({ next < $0 }) ?? true {
                alarm = next
                group.addTask {
                    do {
                        try await Task.sleep(until: next)
                        news.yield(.time)
                    } catch {
                        return  // The drainer ends.
                    }
                }
            }
        }
    }

    /// Stores the oldest messages of `room`.
    private func drain(_ room: RoomID) async -> DrainPlan.Outcome {
        do throws(SpoolError) {
            let batch = try await spool.oldest(of: room)
            // What is on its way to the disk is announced when it is there.
            guard !batch.isEmpty else { return .empty }
            let outcomes = await store(batch.map(\.message), limits.drainPatience)
            return try await settle(batch, outcomes)
        } catch {
            return .refused(retryAfter: limits.longestPause)  // Logged by the spool.
        }
    }

    private func settle(
        _ batch: [SpooledMessage], _ outcomes: [Result<Receipt, WriteError>]
    ) async throws(SpoolError) -> DrainPlan.Outcome {
        var done: [(spooled: SpooledMessage, receipt: Receipt)] = []
        var refused: [(spooled: SpooledMessage, reason: String)] = []
        var refusal: DrainPlan.Outcome?
        for (spooled, outcome) in zip(batch, outcomes) {
            switch outcome {
            case .success(let receipt):
                done.append((spooled, receipt))
            case .failure(.conflict):
                refused.append((spooled, "its id holds another message"))
            case .failure(.refused(_, let reason, _)):
                refused.append((spooled, reason))
            case .failure(.overloaded(_, let retryAfter)),
                .failure(.unavailable(_, _, let retryAfter)):
                refusal = refusal ?? .refused(retryAfter: retryAfter)
            case .failure(.unknownOutcome), .failure(.stopped):
                refusal = refusal ?? .refused(retryAfter: limits.firstPause)
            }
        }
        try await spool.drained(done.map(\.spooled))
        // Only now: whoever hears of it and sends it again must get the answer of the shard.
        for (spooled, receipt) in done { onStored(spooled.message, receipt) }
        try await spool.refused(refused)
        // Where some were stored the shard is back: the others were refused beside its first trial.
        return done.isEmpty ? refusal ?? .more : .more
    }
}
