/// Messages that arrived before those that precede them, in the order of `seq`: they wait a moment.
///
/// What a shard commits one after the other is told by tasks that overtake each other, and what
/// servers tell each other does, too. A socket would get a message before the one that it follows,
/// and a heartbeat in between would look as if something were missing. What does not come within
/// ``RoomLimits/gapGrace`` is read from the shard; nobody waits longer than
/// ``RoomLimits/arrivalPatience``, or while the shard cannot be read.
struct Arrivals: Sendable {
    typealias Instant = ContinuousClock.Instant

    /// A ``RoomEvent/message(seq:id:author:frame:event:)``.
    struct Arrival: Sendable {
        var message: RoomEvent
        var seq: Int64
        /// Whether a shard has told this server; else another server has.
        var isCommitted: Bool
        var since: Instant
    }

    /// More than these do not wait: then something is missing, not late.
    private static let waitingAtMost = 256

    private let patience: Duration
    /// By `seq`; those with the same one in the order of their arrival.
    private var waiting: [Arrival] = []

    init(limits: RoomLimits) {
        patience = limits.arrivalPatience
    }

    /// The highest `seq` that waits; nil when none does.
    var newest: Int64? { waiting.last?.seq }

    mutating func add(_ message: RoomEvent, seq: Int64, isCommitted: Bool, now: Instant) {
        let index = waiting.lastIndex { $0.seq <= seq }.map { $0 + 1 } ?? 0
        waiting.insert(
            Arrival(message: message, seq: seq, isCommitted: isCommitted, since: now), at: index)
    }

    /// Takes the message whose turn has come: it follows `head`, or somebody has waited long enough.
    ///
    /// - Parameters:
    ///   - head: up to where the room has everything.
    ///   - isWhole: whether nothing is missing; where something is, nobody waits.
    mutating func next(head: Int64, isWhole: Bool, now: Instant) -> Arrival? {
        guard let first = waiting.first else { return nil }
        let isTurn =
            !isWhole || first.seq <= head + 1 || waiting.count > Self.waitingAtMost
            || waiting.contains { now - $0.since >= patience }
        return isTurn ? waiting.removeFirst() : nil
    }
}
