import Postgres
import ShardRouter

/// The shards as chatd's store.
struct RouterMessageStore: MessageStore {
    let router: ShardRouter

    func store(_ message: Message, patience: Duration) async throws(WriteError) -> Receipt {
        try await router.store(message, patience: patience)
    }

    func history(
        of room: RoomID, before: Int64?, after: Int64?, limit: Int, patience: Duration
    ) async throws(ReadError) -> HistoryPage {
        try await router.history(
            of: room, before: before, after: after, limit: limit, patience: patience)
    }

    func health(patience: Duration) async -> StoreHealth {
        let outcomes = await router.forEachShard(patience: patience) { _, shard in
            _ = try await shard.query("select 1")
        }
        return StoreHealth(
            parts: outcomes.map { shard, outcome in
                switch outcome {
                case .success:
                    StoreHealth.Part(name: shard.name, isReachable: true, reason: "")
                case .failure(let error):
                    StoreHealth.Part(name: shard.name, isReachable: false, reason: "\(error)")
                }
            })
    }
}
