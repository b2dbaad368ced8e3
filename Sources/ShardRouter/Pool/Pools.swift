import CoreMetrics
import Logging
import Postgres
import Synchronization

typealias ShardPool = ConnectionPool<ShardConnector>

/// The pools of all shards, as the topology changes.
final class Pools: Sendable {
    private struct Contents {
        var pools: [ShardID: ShardPool] = [:]
        /// Shards that have lanes.
        var announced: Set<ShardID> = []
        var isStopped = false
    }

    private let configuration: RouterConfiguration
    private let factory: any MetricsFactory
    private let contents = Mutex(Contents())
    /// Shards that have appeared, each once. One consumer.
    let newShards: AsyncStream<ShardID>
    private let announcement: AsyncStream<ShardID>.Continuation
    /// Pools that are to be run. One consumer.
    private let newPools: AsyncStream<ShardPool>
    private let arrival: AsyncStream<ShardPool>.Continuation

    init(configuration: RouterConfiguration, factory: any MetricsFactory) {
        self.configuration = configuration
        self.factory = factory
        (newShards, announcement) = AsyncStream.makeStream()
        (newPools, arrival) = AsyncStream.makeStream()
    }

    func pool(_ shard: ShardID) -> ShardPool? { contents.withLock { $0.pools[shard] } }

    private var all: [ShardPool] { contents.withLock { Array($0.pools.values) } }

    /// The pools of the shards that own slots.
    func owning(_ topology: Topology) -> [ShardPool] {
        topology.slotCounts.filter { $0.value > 0 }.keys.sorted().compactMap { pool($0) }
    }

    /// Lends a connection to `shard`. Whoever waits at a pool that is replaced goes on at its
    /// successor.
    func withConnection<Value>(
        to shard: ShardID, deadline: ContinuousClock.Instant, reset: Bool = false,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        while true {
            guard let pool = pool(shard) else {
                throw ShardError.unreachable(shard: "\(shard)", reason: "no such shard is known")
            }
            do {
                return try await pool.withConnection(deadline: deadline, reset: reset, body)
            } catch let error as ShardError {
                guard case .closed = error, self.pool(shard) !== pool else { throw error }
            }
        }
    }

    /// Makes pools for new shards, replaces those whose endpoint has changed, and closes those of
    /// retired shards. What is lent stays lent until it comes back.
    func follow(_ topology: Topology) {
        let (outdated, fresh, new) = contents.withLock { contents in
            var outdated: [ShardPool] = []
            var fresh: [ShardPool] = []
            var new: [ShardID] = []
            guard !contents.isStopped else { return (outdated, fresh, new) }
            for shard in topology.shards {
                let known = contents.pools[shard.id]
                if known?.connector.shard.endpoint == shard.endpoint, shard.state != .retired {
                    continue
                }
                if let known { outdated.append(known) }
                contents.pools[shard.id] = nil
                guard shard.state != .retired else { continue }
                let pool = makePool(shard, topology)
                contents.pools[shard.id] = pool
                fresh.append(pool)
                if contents.announced.insert(shard.id).inserted { new.append(shard.id) }
            }
            return (outdated, fresh, new)
        }
        fresh.forEach { arrival.yield($0) }
        outdated.forEach { $0.close() }
        new.forEach { announcement.yield($0) }
    }

    /// Runs the pools until ``stop()`` and ``close()``.
    func run() async {
        await withDiscardingTaskGroup { group in
            for await pool in newPools {
                group.addTask { await pool.run() }
            }
        }
    }

    func tick(now: ContinuousClock.Instant) { all.forEach { $0.tick(now: now) } }

    func measure() { all.forEach { $0.measure() } }

    /// No shard will appear any more.
    func stop() {
        contents.withLock { $0.isStopped = true }
        announcement.finish()
    }

    /// Nothing is lent any more.
    func close() {
        stop()
        all.forEach { $0.close() }
        arrival.finish()
    }

    private func makePool(_ shard: Shard, _ topology: Topology) -> ShardPool {
        ShardPool(
            ShardConnector(
                shard: shard, clusterID: topology.clusterID, catalog: configuration.catalog),
            limits: configuration.limits.pool,
            metrics: PoolMetrics(shard: shard.name, factory: factory))
    }
}
