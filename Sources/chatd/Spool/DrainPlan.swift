import DequeModule
import ShardRouter

/// Which rooms of the spool are tried when. Pure: no clock, no chance.
///
/// A shard that refuses is left alone for a pause that grows; then one room tries, and when it gets
/// through all may. A room is tried by one at a time.
struct DrainPlan {
    typealias Instant = ContinuousClock.Instant

    /// How an attempt for one room ended.
    enum Outcome: Equatable {
        /// Nothing waits in the room.
        case empty
        /// Some was stored, more waits.
        case more
        /// The shard does not take it now; nothing before this time is worth a try.
        case refused(retryAfter: Duration)
    }

    private struct Line {
        var rooms: Deque<RoomID> = []
        var inFlight = 0
        var pause: Duration?
        var blockedUntil: Instant?
    }

    private let limits: SpoolLimits
    private var lines: [ShardID: Line] = [:]
    private var known: Set<RoomID> = []
    private var inFlight: [RoomID: ShardID] = [:]
    /// Rooms that got messages while they were tried.
    private var again: Set<RoomID> = []

    init(limits: SpoolLimits) {
        self.limits = limits
    }

    /// Whether nothing is to be drained.
    var isEmpty: Bool { known.isEmpty }

    /// Messages wait in `room`, which `shard` is thought to own.
    mutating func add(_ room: RoomID, shard: ShardID) {
        guard known.insert(room).inserted else {
            if inFlight[room] != nil { again.insert(room) }
            return
        }
        lines[shard, default: Line()].rooms.append(room)
    }

    /// The rooms that may be tried now; each is in flight until ``finished(_:_:shard:jitter:now:)``.
    mutating func next(now: Instant) -> [RoomID] {
        var rooms: [RoomID] = []
        for shard in lines.keys.sorted() {
            var line = lines[shard] ?? Line()
            if let until = line.blockedUntil, now < until { continue }
            line.blockedUntil = nil
            let allowed = line.pause == nil ? limits.drainRooms : 1
            while line.inFlight < allowed, let room = line.rooms.popFirst() {
                line.inFlight += 1
                inFlight[room] = shard
                rooms.append(room)
            }
            lines[shard] = line
        }
        return rooms
    }

    /// When ``next(now:)`` is worth a call again, if nothing else happens; nil while rooms are
    /// tried whose outcome decides.
    var nextTry: Instant? {
        lines.values.compactMap { $0.rooms.isEmpty ? nil : $0.blockedUntil }.min()
    }

    /// An attempt for `room` has ended.
    ///
    /// - Parameters:
    ///   - shard: who is thought to own the room now.
    ///   - jitter: 0.5 … 1, so that the servers of a cluster do not come back as one.
    mutating func finished(
        _ room: RoomID, _ outcome: Outcome, shard: ShardID, jitter: Double, now: Instant
    ) {
        guard let tried = inFlight.removeValue(forKey: room) else { return }
        lines[tried]?.inFlight -= 1
        switch outcome {
        case .empty, .more:
            lines[tried]?.pause = nil
            lines[tried]?.blockedUntil = nil
        case .refused(let retryAfter):
            refused(tried, retryAfter, jitter: jitter, now: now)
        }
        let isDone = outcome == .empty && again.remove(room) == nil
        again.remove(room)
        if isDone {
            known.remove(room)
        } else {
            // At the end, also after a refusal: the room may be at fault, not its shard.
            lines[shard, default: Line()].rooms.append(room)
        }
    }

    /// Rooms that were tried together are refused together: that makes one pause, not many.
    private mutating func refused(
        _ shard: ShardID, _ retryAfter: Duration, jitter: Double, now: Instant
    ) {
        if let until = lines[shard]?.blockedUntil, now < until { return }
        let pause = lines[shard]?.pause.map { min($0 * 2, limits.longestPause) }
        let next = pause ?? limits.firstPause
        lines[shard]?.pause = next
        lines[shard]?.blockedUntil =
            now + max(next * jitter, min(retryAfter, limits.longestPause))
    }
}
