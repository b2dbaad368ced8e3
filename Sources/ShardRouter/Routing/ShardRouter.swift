import CoreMetrics
import FoundationEssentials
public import Logging
import Postgres
public import ServiceLifecycle
import Synchronization
import Tracing

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
    let configuration: RouterConfiguration
    let dispatcher: WriteDispatcher
    let pools: Pools
    let tracing: RouterTracing
    let metrics: RouterMetrics
    /// Told when a room has to wait for a fence.
    let fences = AsyncStream.makeStream(
        of: Void.self, bufferingPolicy: .bufferingNewest(1))
    /// Slots at whose fence somebody waits.
    let waiting = Mutex<[Slot: FenceWait]>([:])
    /// Queues are measured this much more rarely than they are looked at.
    private static let sweepsPerMeasurement = 25

    /// Loads the topology, checks the shards, and returns a router that can be run.
    ///
    /// A shard that does not answer is a warning: its rooms wait, the others work. Without an
    /// overflow at least one must answer.
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
        router.pools.follow(topology)
        let failures = await router.connectToShards()
        for failure in failures {
            if case .unreachable = failure {
                logger.warning("shard is out of reach", metadata: ["error": "\(failure)"])
            } else {
                throw .unfitShard(failure)
            }
        }
        // With an overflow messages are safe all the same; without one nothing could be done.
        let owning = topology.slotCounts.count { $0.value > 0 }
        if failures.count == owning, configuration.overflow == nil {
            throw .noShardReachable(failures)
        }
        return router
    }

    private init(_ topology: Topology, configuration: RouterConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        tracing = RouterTracing(configuration.tracer)
        let factory = configuration.metricsFactory ?? MetricsSystem.factory
        let metrics = RouterMetrics(factory: factory)
        for shard in topology.shards { _ = metrics.shard(shard.id, name: shard.name) }
        self.metrics = metrics
        dispatcher = WriteDispatcher(
            limits: configuration.limits, overflow: configuration.overflow
        ) { metrics.tell($0, logger) }
        let pools = Pools(configuration: configuration, factory: factory)
        self.pools = pools
        keeper = TopologyKeeper(
            topology, configuration: configuration, metrics: metrics, logger: logger
        ) { topology in
            for shard in topology.shards { _ = metrics.shard(shard.id, name: shard.name) }
            pools.follow(topology)
        }
    }

    /// Who owns what, as far as this router knows.
    public var topology: Topology { keeper.topology }

    /// The slot of `room` and the shard that owns it, as far as this router knows.
    public func route(_ room: RoomID) -> (slot: Slot, shard: ShardID?) {
        let slot = keeper.ringHash.slot(of: room)
        return (slot, keeper.table.owner(of: slot))
    }

    /// Takes over `topology` as if the catalog had announced it: for measurements of routing while
    /// the topology changes.
    @_spi(Benchmarks) public func learn(_ topology: Topology) async {
        await keeper.learn(topology)
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
    }

    private func stop() {
        dispatcher.stop()
        pools.stop()
    }

    private func runUntilStopped() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.keeper.run() }
            group.addTask { await self.sweep() }
            group.addTask { await self.followFences() }
            group.addTask { await self.pools.run() }
            await withDiscardingTaskGroup { lanes in
                for await shard in pools.newShards {
                    for number in 0..<configuration.limits.lanes {
                        let lane = WriteDispatcher.Lane(shard: shard, number: number)
                        lanes.addTask { await self.work(lane) }
                    }
                }
            }
            pools.close()
            group.cancelAll()
        }
    }

    private func sweep() async {
        var count = 0
        while !Task.isCancelled {
            dispatcher.sweep(now: .now) { keeper.table.owner(of: $0.slot) }
            pools.tick(now: .now)
            if count.isMultiple(of: Self.sweepsPerMeasurement) { measureQueues() }
            count += 1
            do {
                try await Task.sleep(for: configuration.limits.sweep)
            } catch {
                return
            }
        }
    }

    /// Lets rooms go on soon after their fence, which lasts less than the time between two sweeps.
    private func followFences() async {
        for await _ in fences.stream {
            do {
                try await Task.sleep(for: configuration.limits.fencePause)
            } catch {
                return
            }
            dispatcher.sweep(now: .now) { keeper.table.owner(of: $0.slot) }
            await liftStaleFences()
        }
    }

    private func measureQueues() {
        pools.measure()
        for shard in topology.shards {
            let (rows, bytes) = dispatcher.load(of: shard.id)
            let metrics = metrics.shard(shard.id, name: shard.name)
            metrics.queueRows.set(rows)
            metrics.queueBytes.set(bytes)
        }
    }

    private func work(_ lane: WriteDispatcher.Lane) async {
        let name = topology.shard(lane.shard)?.name ?? "\(lane.shard)"
        let attempt = LaneAttempt(
            lane: lane, pools: pools, dispatcher: dispatcher, limits: configuration.limits,
            metrics: metrics.shard(lane.shard, name: name), tracing: tracing)
        while let batch = await dispatcher.nextBatch(for: lane) {
            finish(lane, batch, await attempt.store(batch.entries), attempt.metrics)
            // Callers who were just told and have more to store get into the next batch: half as
            // many batches where few callers store one message after the other.
            await Task.yield()
        }
    }

    /// Tells the callers, and sends on what belongs elsewhere.
    private func finish(
        _ lane: WriteDispatcher.Lane, _ batch: WriteBatch, _ answers: [AppendOutcome?],
        _ metrics: ShardMetrics
    ) {
        var verdicts: [WriteDispatcher.Verdict] = []
        verdicts.reserveCapacity(batch.runs.count)
        for run in batch.runs {
            var verdict = WriteDispatcher.Verdict(
                unsettled: [], settledRows: 0, settledBytes: 0, next: .here)
            for index in run.range {
                let entry = batch.entries[index]
                switch answers[index] {
                case .settled(let outcome)?:
                    entry.resolve(outcome.map { .stored($0) })
                case .elsewhere(let answer)? where !entry.isOver:
                    verdict.unsettled.append(entry)
                    verdict.next = next(for: entry.slot, at: lane.shard, answer)
                    metrics.redirects.increment()
                    continue
                case .elsewhere?, nil:
                    if !entry.isOver {
                        entry.expire(
                            shard: lane.shard, reason: "the shard did not answer in time",
                            retryAfter: limits.circuit.firstPause)
                    }
                }
                verdict.settledRows += 1
                verdict.settledBytes += entry.bytes
            }
            verdicts.append(verdict)
        }
        dispatcher.finish(lane, batch, verdicts)
    }

    /// Where the messages of a slot go on that `shard` did not take.
    private func next(
        for slot: Slot, at shard: ShardID, _ answer: SlotAnswer
    ) -> WriteQueues.Continuation {
        learn(answer, of: slot)
        if let owner = keeper.table.owner(of: slot), owner != shard { return .at(owner) }
        noteFence(of: slot, at: shard, answer)
        fences.continuation.yield()
        return .later(.now + configuration.limits.fencePause)
    }

    /// Follows a shard's word when it is newer than what is known.
    func learn(_ answer: SlotAnswer, of slot: Slot) {
        guard answer.state == "moved", let owner = answer.movedTo,
            owner.isInRange, answer.epoch.isInRange
        else { return }
        keeper.table.learn(owner, of: slot, since: answer.epoch)
    }

    /// The limits in force.
    var limits: RouterLimits { configuration.limits }

    /// Opens the first connection to each shard that owns something.
    ///
    /// - Returns: why those did not work that did not.
    private func connectToShards() async -> [ShardError] {
        let deadline = ContinuousClock.now + configuration.limits.pool.connect
        return await withTaskGroup(of: ShardError?.self) { group in
            for pool in pools.owning(topology) {
                group.addTask {
                    do throws(ShardError) {
                        pool.warm(try await pool.connector.connect(deadline: deadline))
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            return await group.reduce(into: []) { failures, failure in
                if let failure { failures.append(failure) }
            }
        }
    }
}
