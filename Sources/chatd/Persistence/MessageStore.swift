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
    /// hole, else under the next. One that is there stays as it is, and is told as it is. One that
    /// was deleted comes back without its text.
    ///
    /// - Parameter seq: what it had; nil when nobody knows.
    func restore(
        _ message: Message, seq: Int64?, patience: Duration
    ) async throws(WriteError) -> KeptMessage

    /// Stores an event of a moderator, in the room's order, and puts it into effect; never queued.
    /// A repeated id with the same author and act gives what was stored the first time.
    ///
    /// - Parameter message: without a text, with an event.
    func moderate(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> ModerationOutcome

    /// Whom moderators keep quiet, or out, in `room`, now.
    func sanctions(of room: RoomID, patience: Duration) async throws(ReadError) -> Sanctions

    /// The state of each shard, for `/readyz`. Never waits longer than `patience`.
    func health(patience: Duration) async -> StoreHealth
}

/// A message or an event as its shard has it.
struct KeptMessage: Sendable, Equatable {
    var stored: StoredMessage
    /// Whether it was there before.
    var isDuplicate: Bool

    var seq: Int64 { stored.seq }
}

/// What became of a moderator's event.
enum ModerationOutcome: Sendable, Equatable {
    case done(KeptMessage)
    /// The message to delete is not there, or is an event. Nothing was stored.
    case unknownMessage
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
