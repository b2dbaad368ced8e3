import DequeModule

/// Which messages wait for which shard, room by room. Pure: no clock, no I/O.
///
/// A room is in one batch at a time, and whatever comes back from a batch goes in front of what
/// came later: the messages of a room are stored in the order in which they were given.
struct WriteQueues {
    /// Where the messages of a room go on after a batch.
    enum Continuation {
        /// At the same shard, at once.
        case here
        /// At the shard that was named.
        case at(ShardID)
        /// Wherever the slot is then, not before this time.
        case later(ContinuousClock.Instant)
    }

    private struct RoomQueue {
        var shard: ShardID
        var entries: Deque<PendingWrite> = []
        var isInFlight = false
        var blockedUntil: ContinuousClock.Instant?
    }

    private struct ShardQueue {
        /// Rooms with entries that no batch holds and nothing blocks.
        var ready: Deque<RoomID> = []
        var rows = 0
        var bytes = 0
    }

    let limits: RouterLimits
    private var rooms: [RoomID: RoomQueue] = [:]
    private var shards: [ShardID: ShardQueue] = [:]

    init(limits: RouterLimits) {
        self.limits = limits
    }

    /// Messages that wait for `shard` or are in one of its batches.
    func queuedRows(_ shard: ShardID) -> Int { shards[shard]?.rows ?? 0 }

    /// Takes a message in. A room that has messages waiting keeps its place, wherever `owner` is.
    ///
    /// - Returns: the shard that has work now, or nil when its queue is full: nothing was taken.
    mutating func offer(_ entry: PendingWrite, owner: ShardID) -> ShardID? {
        let room = entry.message.room
        let shard = rooms[room]?.shard ?? owner
        let load = shards[shard, default: ShardQueue()]
        guard load.rows < limits.queuedRows, load.bytes + entry.bytes <= limits.queuedBytes else {
            return nil
        }
        shards[shard, default: ShardQueue()].rows += 1
        shards[shard, default: ShardQueue()].bytes += entry.bytes
        let wasIdle = rooms[room].map { $0.entries.isEmpty && !$0.isInFlight } ?? true
        rooms[room, default: RoomQueue(shard: shard)].entries.append(entry)
        if wasIdle { shards[shard, default: ShardQueue()].ready.append(room) }
        return shard
    }

    /// Whether ``takeBatch(for:)`` would find something.
    func hasWork(for shard: ShardID) -> Bool { shards[shard].map { !$0.ready.isEmpty } ?? false }

    /// Whether no message waits or is on its way.
    var isEmpty: Bool { rooms.isEmpty }

    /// Takes everything out that no batch holds.
    mutating func takeAll() -> [PendingWrite] {
        defer {
            rooms = [:]
            shards = [:]
        }
        return rooms.values.flatMap(\.entries)
    }

    /// The next batch for `shard`, empty when there is nothing to do. Its rooms are in flight until
    /// ``finish(_:unsettled:next:)``.
    mutating func takeBatch(for shard: ShardID) -> [PendingWrite] {
        var batch: [PendingWrite] = []
        var bytes = 0
        while let room = shards[shard]?.ready.popFirst() {
            var queue = rooms[room] ?? RoomQueue(shard: shard)
            while let first = queue.entries.first, batch.count < limits.batchRows,
                batch.isEmpty || bytes + first.bytes <= limits.batchBytes
            {
                batch.append(queue.entries.removeFirst())
                bytes += first.bytes
                queue.isInFlight = true
            }
            rooms[room] = queue
            if !queue.isInFlight {
                shards[shard]?.ready.prepend(room)
                break
            }
            if batch.count >= limits.batchRows || bytes >= limits.batchBytes { break }
        }
        return batch
    }

    /// A batch of `room` has ended; `unsettled` are its messages that nobody has stored or refused.
    ///
    /// - Returns: the shard that has work now, if any.
    mutating func finish(
        _ room: RoomID, settled: [PendingWrite], unsettled: [PendingWrite], next: Continuation
    ) -> ShardID? {
        guard var queue = rooms[room] else { return nil }
        precondition(queue.isInFlight, "only a room in flight comes back")
        release(settled, from: queue.shard)
        queue.isInFlight = false
        queue.entries.prepend(contentsOf: unsettled)
        guard !queue.entries.isEmpty else {
            rooms[room] = nil
            return nil
        }
        switch next {
        case .here: break
        case .at(let shard): transfer(&queue, to: shard)
        case .later(let time):
            queue.blockedUntil = time
            rooms[room] = queue
            return nil
        }
        rooms[room] = queue
        shards[queue.shard, default: ShardQueue()].ready.append(room)
        return queue.shard
    }

    /// Lets rooms go on whose block has ended, each at the owner that it has now.
    ///
    /// - Returns: the shards that have work now.
    mutating func unblock(
        _ now: ContinuousClock.Instant, owner: (PendingWrite) -> ShardID?
    ) -> Set<ShardID> {
        var woken: Set<ShardID> = []
        for (room, queue) in rooms {
            guard let until = queue.blockedUntil, until <= now, let first = queue.entries.first
            else { continue }
            var queue = queue
            queue.blockedUntil = nil
            transfer(&queue, to: owner(first) ?? queue.shard)
            rooms[room] = queue
            shards[queue.shard, default: ShardQueue()].ready.append(room)
            woken.insert(queue.shard)
        }
        return woken
    }

    /// Takes out the waiting messages whose deadline has passed, each with its shard.
    mutating func expired(_ now: ContinuousClock.Instant) -> [(PendingWrite, ShardID)] {
        var expired: [(PendingWrite, ShardID)] = []
        for (room, queue) in rooms where queue.entries.contains(where: { $0.deadline <= now }) {
            var queue = queue
            let late = queue.entries.filter { $0.deadline <= now }
            queue.entries.removeAll { $0.deadline <= now }
            release(Array(late), from: queue.shard)
            expired += late.map { ($0, queue.shard) }
            if queue.entries.isEmpty, !queue.isInFlight {
                rooms[room] = nil
                shards[queue.shard]?.ready.removeAll { $0 == room }
            } else {
                rooms[room] = queue
            }
        }
        return expired
    }

    private mutating func transfer(_ queue: inout RoomQueue, to shard: ShardID) {
        guard shard != queue.shard else { return }
        let bytes = queue.entries.reduce(0) { $0 + $1.bytes }
        release(Array(queue.entries), from: queue.shard)
        shards[shard, default: ShardQueue()].rows += queue.entries.count
        shards[shard, default: ShardQueue()].bytes += bytes
        queue.shard = shard
    }

    private mutating func release(_ entries: [PendingWrite], from shard: ShardID) {
        shards[shard, default: ShardQueue()].rows -= entries.count
        shards[shard, default: ShardQueue()].bytes -= entries.reduce(0) { $0 + $1.bytes }
    }
}
