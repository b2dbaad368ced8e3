import FoundationEssentials
import ShardRouter

/// Where messages are kept: the shards, or memory in tests.
///
/// The seam between chatd and `ShardRouter`. Both forms pass one contract suite.
protocol MessageStore: Sendable {
    /// Returns when the message is durable: in its shard, or in the spool while its shard is out of
    /// reach. A repeated id with the same author and text gives the receipt of the first time.
    func store(_ message: Message, patience: Duration) async throws(WriteError) -> WriteOutcome

    /// The last `limit` messages below `before` (nil: the newest), or the first `limit` ones above
    /// `after`; oldest first. `before` wins when both are given together.
    func history(
        of room: RoomID, before: Int64?, after: Int64?, limit: Int, patience: Duration
    ) async throws(ReadError) -> HistoryPage

    /// Which of `ids` the room has.
    func known(
        _ ids: [UUID], in room: RoomID, patience: Duration
    ) async throws(ReadError) -> Set<UUID>

    /// Stores a message again that the room's shard has lost: under its old `seq` when that is a
    /// hole, else under the next. One that is there gives its receipt, as ``store(_:patience:)``.
    ///
    /// - Parameter seq: what it had; nil when nobody knows.
    func restore(
        _ message: Message, seq: Int64?, patience: Duration
    ) async throws(WriteError) -> Receipt

    /// The state of each shard, for `/readyz`. Never waits longer than `patience`.
    func health(patience: Duration) async -> StoreHealth
}

/// What `/readyz` says about the store.
struct StoreHealth: Sendable, Equatable {
    struct Part: Sendable, Equatable {
        /// "catalog", or the name of a shard.
        var name: String
        var isReachable: Bool
        /// Why not, without secrets; empty when reachable.
        var reason: String
    }
    var parts: [Part]
}
