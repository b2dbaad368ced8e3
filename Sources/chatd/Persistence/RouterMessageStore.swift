import Postgres
import ShardRouter

/// The shards as chatd's store.
struct RouterMessageStore: MessageStore {
    let router: ShardRouter
    /// Asked for its health only: the router itself goes on without it.
    let catalog: ConnectionSettings

    func store(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> WriteOutcome {
        try await router.accept(message, patience: patience)
    }

    func history(
        of room: RoomID, before: Int64?, after: Int64?, limit: Int, patience: Duration
    ) async throws(ReadError) -> HistoryPage {
        try await router.history(
            of: room, before: before, after: after, limit: limit, patience: patience)
    }

    func health(patience: Duration) async -> StoreHealth {
        async let catalog = catalogHealth(patience: patience)
        let outcomes = await router.forEachShard(patience: patience) { _, shard in
            _ = try await shard.query("select 1")
        }
        let shards = outcomes.map { shard, outcome in
            switch outcome {
            case .success:
                StoreHealth.Part(name: shard.name, isReachable: true, reason: "")
            case .failure(let error):
                StoreHealth.Part(name: shard.name, isReachable: false, reason: "\(error)")
            }
        }
        return StoreHealth(parts: [await catalog] + shards)
    }

    private func catalogHealth(patience: Duration) async -> StoreHealth.Part {
        let deadline = ContinuousClock.now + patience
        do throws(PostgresError) {
            let connection = try await PostgresConnection.connect(
                catalog.findingPrimary, deadline: deadline)
            defer { connection.close() }
            _ = try await connection.query("select 1", deadline: deadline)
            return StoreHealth.Part(name: "catalog", isReachable: true, reason: "")
        } catch {
            return StoreHealth.Part(name: "catalog", isReachable: false, reason: "\(error)")
        }
    }
}
