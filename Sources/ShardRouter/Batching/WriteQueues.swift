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
        var room: RoomID
        var shard: ShardID
        var entries: Deque<PendingWrite> = []
        var isInFlight = false
        var blockedUntil: ContinuousClock.Instant?
    }

    private struct ShardQueue {
        /// Places of rooms with entries that no batch holds and nothing blocks.
        var ready: Deque<Int> = []
        var rows = 0
        var bytes = 0
    }

    private let limits: RouterLimits
    /// Rooms at fixed places while they have messages waiting or in flight; nil where free.
    private var rooms: [RoomQueue?] = []
    private var freePlaces: [Int] = []
    private var places: [RoomID: Int] = [:]
    private var blocked: Set<Int> = []
    private var shards: [ShardID: ShardQueue] = [:]
    /// No waiting message has an earlier deadline.
    private var earliestDeadline: ContinuousClock.Instant?

    init(limits: RouterLimits) {
        self.limits = limits
    }

    /// Messages that wait for `shard` or are in one of its batches.
    func queuedRows(_ shard: ShardID) -> Int { shards[shard]?.rows ?? 0 }

    /// Their size in bytes.
    func queuedBytes(_ shard: ShardID) -> Int { shards[shard]?.bytes ?? 0 }

    /// Whether ``takeBatch(for:)`` would find something.
    func hasWork(for shard: ShardID) -> Bool { shards[shard].map { !$0.ready.isEmpty } ?? false }

    /// Whether no message waits or is on its way.
    var isEmpty: Bool { places.isEmpty }

    /// Where the messages of `room` go: it keeps its shard while it has messages waiting.
    func shard(of room: RoomID) -> ShardID? {
        places[room].flatMap { rooms[$0]?.shard }
    }

    /// The room at `place`.
    func room(at place: Int) -> RoomID? { rooms[place]?.room }

    /// Takes a message in. A room that has messages waiting keeps its place, wherever `owner` is.
    ///
    /// - Returns: the shard that has work now, or nil when its queue is full: nothing was taken.
    mutating func offer(_ entry: PendingWrite, owner: ShardID) -> ShardID? {
        let known = places[entry.message.room]
        let shard = known.flatMap { rooms[$0]?.shard } ?? owner
        guard reserve(entry, shard) else { return nil }
        earliestDeadline = earliestDeadline.map { min($0, entry.deadline) } ?? entry.deadline
        let place = known ?? newPlace(for: entry.message.room, shard: shard)
        let isIdle = rooms[place].map { $0.entries.isEmpty && !$0.isInFlight } ?? false
        rooms[place]?.entries.append(entry)
        if isIdle { shards[shard]?.ready.append(place) }
        return shard
    }

    /// The next batch for `shard`, empty when there is nothing to do. Its rooms are in flight until
    /// ``finish(_:unsettled:rows:bytes:next:)``.
    mutating func takeBatch(for shard: ShardID) -> WriteBatch {
        var batch = WriteBatch()
        while let place = shards[shard]?.ready.popFirst() {
            let first = batch.entries.count
            take(from: place, &batch)
            guard batch.entries.count > first else {
                shards[shard]?.ready.prepend(place)
                break
            }
            batch.runs.append(WriteBatch.Run(place: place, range: first..<batch.entries.count))
            if batch.entries.count >= limits.batchRows || batch.bytes >= limits.batchBytes { break }
        }
        return batch
    }

    /// A batch of the room at `place` has ended.
    ///
    /// - Parameters:
    ///   - unsettled: its messages that nobody has stored, refused or diverted, in order.
    ///   - rows: how many messages are settled, and `bytes` their size.
    /// - Returns: the shard that has work now, if any.
    mutating func finish(
        _ place: Int, unsettled: [PendingWrite], rows: Int, bytes: Int, next: Continuation
    ) -> ShardID? {
        guard var queue = rooms[place] else { preconditionFailure("a room in flight has a place") }
        precondition(queue.isInFlight, "only a room in flight comes back")
        release(rows, bytes, from: queue.shard)
        queue.isInFlight = false
        queue.entries.prepend(contentsOf: unsettled)
        guard !queue.entries.isEmpty else {
            free(place)
            return nil
        }
        for entry in unsettled {
            earliestDeadline = earliestDeadline.map { min($0, entry.deadline) } ?? entry.deadline
        }
        switch next {
        case .here: break
        case .at(let shard): transfer(&queue, to: shard)
        case .later(let time):
            queue.blockedUntil = time
            blocked.insert(place)
            rooms[place] = queue
            return nil
        }
        rooms[place] = queue
        shards[queue.shard, default: ShardQueue()].ready.append(place)
        return queue.shard
    }

    /// Lets rooms go on whose block has ended, each at the owner that it has now.
    ///
    /// - Returns: the shards that have work now.
    mutating func unblock(
        _ now: ContinuousClock.Instant, owner: (PendingWrite) -> ShardID?
    ) -> Set<ShardID> {
        var woken: Set<ShardID> = []
        for place in blocked {
            guard var queue = rooms[place], let until = queue.blockedUntil, until <= now,
                let first = queue.entries.first
            else { continue }
            blocked.remove(place)
            queue.blockedUntil = nil
            transfer(&queue, to: owner(first) ?? queue.shard)
            rooms[place] = queue
            shards[queue.shard, default: ShardQueue()].ready.append(place)
            woken.insert(queue.shard)
        }
        return woken
    }
}

// MARK: - Taking out

extension WriteQueues {
    /// Takes out the waiting messages whose deadline has passed, each with its shard.
    ///
    /// - Parameter isKept: messages that stay although they are late.
    /// - Returns: those taken out, and the late ones that stayed.
    mutating func expired(
        _ now: ContinuousClock.Instant, keeping isKept: (PendingWrite) -> Bool = { _ in false }
    ) -> (late: [(PendingWrite, ShardID)], kept: [PendingWrite]) {
        guard let earliestDeadline, earliestDeadline <= now else { return ([], []) }
        var late: [(PendingWrite, ShardID)] = []
        var kept: [PendingWrite] = []
        var earliest: ContinuousClock.Instant?
        var emptied: [Int] = []
        for (place, queue) in rooms.enumerated() {
            guard var queue else { continue }
            for entry in queue.entries where entry.deadline > now {
                earliest = earliest.map { min($0, entry.deadline) } ?? entry.deadline
            }
            let over = Array(queue.entries.filter { $0.deadline <= now })
            guard !over.isEmpty else { continue }
            kept += over.filter(isKept)
            let leaving = over.filter { !isKept($0) }
            queue.entries.removeAll { $0.deadline <= now && !isKept($0) }
            rooms[place] = queue
            if settle(leaving, place) { emptied.append(place) }
            late += leaving.map { ($0, queue.shard) }
        }
        free(emptied)
        self.earliestDeadline = earliest
        return (late, kept)
    }

    /// Takes out what waits of `rooms` and no batch holds, each message with its shard.
    mutating func takeAll(of rooms: Set<RoomID>) -> [(PendingWrite, ShardID)] {
        takeAll(at: rooms.compactMap { places[$0] })
    }

    /// Takes out what waits for `shard` and no batch holds, room by room.
    mutating func takeAll(for shard: ShardID) -> [PendingWrite] {
        takeAll(at: rooms.indices.filter { rooms[$0]?.shard == shard }).map(\.0)
    }

    /// Takes everything out that no batch holds.
    mutating func takeAll() -> [PendingWrite] {
        takeAll(at: Array(rooms.indices)).map(\.0)
    }

    private mutating func takeAll(at places: [Int]) -> [(PendingWrite, ShardID)] {
        var taken: [(PendingWrite, ShardID)] = []
        var emptied: [Int] = []
        for place in places {
            guard let queue = rooms[place], !queue.entries.isEmpty else { continue }
            rooms[place]?.entries = []
            if settle(Array(queue.entries), place) { emptied.append(place) }
            taken += queue.entries.map { ($0, queue.shard) }
        }
        free(emptied)
        return taken
    }

    /// `entries` have left the queue of the room at `place`.
    ///
    /// - Returns: whether nothing is left there, so that the place is to be freed.
    private mutating func settle(_ entries: [PendingWrite], _ place: Int) -> Bool {
        guard let queue = rooms[place] else { return false }
        release(entries.count, entries.reduce(0) { $0 + $1.bytes }, from: queue.shard)
        return queue.entries.isEmpty && !queue.isInFlight
    }

    /// Frees places that may still be in the line of their shard. One pass over each line, however
    /// many there are: this happens when a shard is given up with thousands of rooms waiting.
    private mutating func free(_ emptied: [Int]) {
        let gone = Set(emptied)
        for shard in Set(emptied.compactMap { rooms[$0]?.shard }) {
            shards[shard]?.ready.removeAll { gone.contains($0) }
        }
        emptied.forEach { free($0) }
    }
}

// MARK: - Steps

extension WriteQueues {
    private mutating func newPlace(for room: RoomID, shard: ShardID) -> Int {
        let place = freePlaces.popLast() ?? rooms.count
        if place == rooms.count { rooms.append(nil) }
        rooms[place] = RoomQueue(room: room, shard: shard)
        places[room] = place
        return place
    }

    private mutating func free(_ place: Int) {
        guard let queue = rooms[place] else { return }
        places[queue.room] = nil
        blocked.remove(place)
        rooms[place] = nil
        freePlaces.append(place)
    }

    private mutating func reserve(_ entry: PendingWrite, _ shard: ShardID) -> Bool {
        let (rows, bytes) = (limits.queuedRows, limits.queuedBytes)
        func reserve(_ load: inout ShardQueue) -> Bool {
            guard load.rows < rows, load.bytes + entry.bytes <= bytes else { return false }
            load.rows += 1
            load.bytes += entry.bytes
            return true
        }
        return reserve(&shards[shard, default: ShardQueue()])
    }

    private mutating func take(from place: Int, _ batch: inout WriteBatch) {
        while let first = rooms[place]?.entries.first, batch.entries.count < limits.batchRows,
            batch.isEmpty || batch.bytes + first.bytes <= limits.batchBytes
        {
            rooms[place]?.entries.removeFirst()
            rooms[place]?.isInFlight = true
            batch.entries.append(first)
            batch.bytes += first.bytes
        }
    }

    private mutating func transfer(_ queue: inout RoomQueue, to shard: ShardID) {
        guard shard != queue.shard else { return }
        let bytes = queue.entries.reduce(0) { $0 + $1.bytes }
        release(queue.entries.count, bytes, from: queue.shard)
        shards[shard, default: ShardQueue()].rows += queue.entries.count
        shards[shard, default: ShardQueue()].bytes += bytes
        queue.shard = shard
    }

    private mutating func release(_ rows: Int, _ bytes: Int, from shard: ShardID) {
        shards[shard, default: ShardQueue()].rows -= rows
        shards[shard, default: ShardQueue()].bytes -= bytes
    }
}
