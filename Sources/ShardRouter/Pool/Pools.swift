/// The pools of all shards, as the topology changes.
actor Pools {
    private let configuration: RouterConfiguration
    private var pools: [ShardID: ShardPool] = [:]
    private var announced: Set<ShardID> = []
    /// Shards that have appeared, each once. One consumer.
    nonisolated let newShards: AsyncStream<ShardID>
    private nonisolated let announcement: AsyncStream<ShardID>.Continuation

    init(configuration: RouterConfiguration) {
        self.configuration = configuration
        (newShards, announcement) = AsyncStream.makeStream()
    }

    func pool(_ shard: ShardID) -> ShardPool? { pools[shard] }

    /// The pools of the shards that own slots.
    func owning(_ topology: Topology) -> [ShardPool] {
        topology.slotCounts.filter { $0.value > 0 }.keys.sorted().compactMap { pools[$0] }
    }

    /// Makes pools for new shards and replaces those whose endpoint has changed.
    func follow(_ topology: Topology) async {
        for shard in topology.shards {
            if let known = pools[shard.id] {
                guard known.shard.endpoint != shard.endpoint else { continue }
                await known.close()
            }
            pools[shard.id] = ShardPool(
                ShardConnector(
                    shard: shard, clusterID: topology.clusterID, catalog: configuration.catalog,
                    limits: configuration.limits))
            if announced.insert(shard.id).inserted { announcement.yield(shard.id) }
        }
    }

    /// No shard will appear any more.
    nonisolated func stop() { announcement.finish() }

    func close() async {
        for pool in pools.values { await pool.close() }
    }
}
