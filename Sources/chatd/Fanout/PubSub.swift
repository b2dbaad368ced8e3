import ServiceLifecycle
import ShardRouter

/// Carries a room's events between servers. Fast and forgetful: what it loses, heartbeats and the
/// shard repair.
///
/// Two forms: Redis, and in-process for a single server. Both pass one contract suite.
protocol PubSub: Service, Sendable {
    /// Hands `payload` to every *other* server that is subscribed to `room`.
    ///
    /// Never waits and never fails: a full queue drops the oldest payload.
    func publish(_ payload: [UInt8], to room: RoomID)

    /// Starts (and `unsubscribe` ends) the flow of `room`'s payloads into `events`. Idempotent;
    /// survives reconnects.
    func subscribe(to room: RoomID)
    func unsubscribe(from room: RoomID)

    /// What arrives, in order per room. One consumer. Bounded: when the consumer is too slow the
    /// oldest events are dropped.
    var events: AsyncStream<PubSubEvent> { get }

    /// Whether servers hear each other right now, in all rooms. Always true in process.
    var isConnected: Bool { get }

    /// Whether other servers are being heard right now in `room`, which is subscribed to.
    func hears(_ room: RoomID) -> Bool

    /// Payloads that were dropped since the start, sent and heard ones.
    var droppedCount: Int { get }
}

/// One thing that pub/sub has to tell.
enum PubSubEvent: Sendable, Equatable {
    case payload([UInt8], room: RoomID)
    /// From now on payloads of `room` are heard (again): whatever came before must be read from
    /// the shard.
    case subscribed(RoomID)
    /// Nobody is heard any more.
    case disconnected
}

extension PubSub {
    func hears(_ room: RoomID) -> Bool { isConnected }
}
