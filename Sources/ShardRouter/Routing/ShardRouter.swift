import FoundationEssentials
public import Logging
import Postgres
public import ServiceLifecycle
import Synchronization

/// Reads and writes the rows of rooms, wherever they live.
///
/// Callers name rooms and never think of shards. A stale idea of who owns a room costs a round
/// trip, never a wrong answer: every shard checks its ownership in the transaction that writes, and
/// in the snapshot that reads.
///
/// Run ``run()`` for as long as the router is used; nothing is stored without it.
public final class ShardRouter: Service {
    let keeper: TopologyKeeper
    let logger: Logger
    private let configuration: RouterConfiguration
    private let dispatcher: WriteDispatcher
    private let pools: Pools
    private let watch: ShardWatch

    /// Loads the topology, checks the shards, and returns a router that can be run.
    ///
    /// A shard that does not answer is a warning: its rooms wait, the others work.
    ///
    /// - Throws: ``RouterStartError``, in words for people.
    public static func start(
        _ configuration: RouterConfiguration, logger: Logger
    ) async throws(RouterStartError) -> ShardRouter {
        let topology = try await TopologyKeeper.firstTopology(configuration, logger: logger)
        guard !topology.owners.isEmpty else {
            throw .noShards(catalog: configuration.catalog.withoutSecrets)
        }
        let router = ShardRouter(topology, configuration: configuration, logger: logger)
        await router.pools.follow(topology)
        let failures = await router.unreachableShards(patience: configuration.limits.connect)
        for failure in failures {
            if case .unreachable = failure {
                logger.warning("shard is out of reach", metadata: ["error": "\(failure)"])
            } else {
                throw .unfitShard(failure)
            }
        }
        if failures.count == topology.slotCounts.count(where: { $0.value > 0 }) {
            throw .noShardReachable(failures)
        }
        return router
    }

    private init(_ topology: Topology, configuration: RouterConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        dispatcher = WriteDispatcher(limits: configuration.limits)
        watch = ShardWatch(logger: logger)
        let pools = Pools(configuration: configuration)
        self.pools = pools
        keeper = TopologyKeeper(topology, configuration: configuration, logger: logger) {
            await pools.follow($0)
        }
    }

    /// Who owns what, as far as this router knows.
    public var topology: Topology { keeper.topology }

    /// The slot of `room` and the shard that owns it, as far as this router knows.
    public func route(_ room: RoomID) -> (slot: Slot, shard: ShardID?) {
        let slot = keeper.topology.ringHash.slot(of: room)
        return (slot, keeper.table.owner(of: slot))
    }

    /// Stores `message` and returns when its shard has committed it.
    ///
    /// The messages of one room are stored in the order of the calls. A repeated id with the same
    /// author and text gives the receipt of the first time.
    ///
    /// - Parameter patience: the longest wait, retries included.
    /// - Throws: ``WriteError``. After `unknownOutcome` the row may be there: storing the same id
    ///   again is safe after any of them.
    /// - Note: Cancelling the task does not take the message back.
    public func store(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> Receipt {
        let (slot, shard) = route(message.room)
        guard let shard else {
            throw .unavailable(shard: ShardID(0), reason: "no shard owns slot \(slot)")
        }
        guard !message.text.utf8.contains(0), !message.author.utf8.contains(0),
            !message.room.text.utf8.contains(0)
        else {
            throw .refused(
                id: message.id, reason: "PostgreSQL text cannot hold a NUL character",
                sqlState: nil)
        }
        let deadline = ContinuousClock.now + patience
        let outcome = await withCheckedContinuation { continuation in
            dispatcher.offer(
                PendingWrite(message, slot: slot, deadline: deadline, caller: continuation),
                owner: shard)
        }
        return try outcome.get()
    }

    /// Runs the router until it is asked to stop; then stores what waits and returns.
    public func run() async throws {
        await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                await runUntilStopped()
            } onCancel: {
                stop()
            }
        } onGracefulShutdown: {
            self.stop()
        }
        dispatcher.abandon()
        await pools.close()
    }

    private func stop() {
        dispatcher.stop()
        pools.stop()
    }

    private func runUntilStopped() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.keeper.run() }
            group.addTask { await self.sweep() }
            await withDiscardingTaskGroup { lanes in
                for await shard in pools.newShards {
                    for number in 0..<configuration.limits.lanes {
                        let lane = WriteDispatcher.Lane(shard: shard, number: number)
                        lanes.addTask { await self.work(lane) }
                    }
                }
            }
            group.cancelAll()
        }
    }

    private func sweep() async {
        while !Task.isCancelled {
            dispatcher.sweep(now: .now) { keeper.table.owner(of: $0.slot) }
            do {
                try await Task.sleep(for: configuration.limits.sweep)
            } catch {
                return
            }
        }
    }

    private func work(_ lane: WriteDispatcher.Lane) async {
        while let batch = await dispatcher.nextBatch(for: lane) {
            let answers = await LaneAttempt(
                lane: lane, pools: pools, limits: configuration.limits, watch: watch
            ).store(batch)
            finish(lane, batch, answers)
        }
    }

    /// Tells the callers, and sends on what belongs elsewhere.
    private func finish(
        _ lane: WriteDispatcher.Lane, _ batch: [PendingWrite], _ answers: [AppendOutcome?]
    ) {
        var rooms: [RoomID: (settled: [PendingWrite], unsettled: [PendingWrite])] = [:]
        var redirected: [RoomID: SlotAnswer] = [:]
        for (entry, answer) in zip(batch, answers) {
            let room = entry.message.room
            switch answer {
            case .settled(let outcome)?:
                entry.resolve(outcome)
                rooms[room, default: ([], [])].settled.append(entry)
            case .elsewhere(let answer)? where !entry.isResolved:
                redirected[room] = answer
                rooms[room, default: ([], [])].unsettled.append(entry)
            case .elsewhere?, nil:
                entry.expire(shard: lane.shard, reason: "the shard did not answer in time")
                rooms[room, default: ([], [])].settled.append(entry)
            }
        }
        let slots = Dictionary(batch.map { ($0.message.room, $0.slot) }) { first, _ in first }
        dispatcher.finish(lane, rooms) { room in
            guard let answer = redirected[room], let slot = slots[room] else { return .here }
            return next(for: slot, at: lane.shard, answer)
        }
    }

    /// Where the messages of a slot go on that `shard` did not take.
    private func next(
        for slot: Slot, at shard: ShardID, _ answer: SlotAnswer
    ) -> WriteQueues.Continuation {
        learn(answer, of: slot)
        if let owner = keeper.table.owner(of: slot), owner != shard { return .at(owner) }
        return .later(.now + configuration.limits.fencePause)
    }

    /// Follows a shard's word when it is newer than what is known.
    func learn(_ answer: SlotAnswer, of slot: Slot) {
        guard answer.state == "moved", let owner = answer.movedTo,
            owner.isInRange, answer.epoch.isInRange
        else { return }
        keeper.table.learn(owner, of: slot, since: answer.epoch)
    }

    /// The connections to a shard.
    func pool(_ shard: ShardID) async -> ShardPool? { await pools.pool(shard) }

    /// The limits in force.
    var limits: RouterLimits { configuration.limits }

    private func unreachableShards(patience: Duration) async -> [ShardError] {
        await forEachPool(patience: patience).compactMap { $0 }
    }

    private func forEachPool(patience: Duration) async -> [ShardError?] {
        let deadline = ContinuousClock.now + patience
        return await withTaskGroup(of: ShardError?.self) { group in
            for pool in await pools.owning(topology) {
                group.addTask {
                    do {
                        return try await pool.withConnection(deadline: deadline) { _ in nil }
                    } catch let error as ShardError {
                        return error
                    } catch {
                        return .unreachable(shard: pool.shard.name, reason: "\(error)")
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }
}
