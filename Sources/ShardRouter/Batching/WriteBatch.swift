/// Messages that are sent to a shard together: runs of rooms, each in the room's order.
struct WriteBatch: Sendable {
    /// The messages of one room in the batch.
    struct Run {
        /// Where ``WriteQueues`` keeps the room.
        var place: Int
        /// Positions in ``WriteBatch/entries``.
        var range: Range<Int>
    }

    var entries: [PendingWrite] = []
    var runs: [Run] = []
    /// What the entries count in the queue's bound.
    var bytes = 0

    var isEmpty: Bool { entries.isEmpty }
}
