import DequeModule
import FoundationEssentials
import NIOCore

/// The last two minutes of a room, in the order of `seq`.
///
/// At least the newest ``WindowLimits/keptMessages`` stay whatever their age, so that who comes
/// back to a quiet room finds all of it here; and never more than its limits in messages and
/// bytes, so that a busy room covers less time and says so by ``coveredSince``.
///
/// Messages may arrive twice and in any order, because several servers tell of them. The window
/// knows up to where it has all of them (``head``) and that some are missing beyond (``hasGap``).
struct Window: Sendable {
    /// One message.
    struct Entry: Sendable {
        let seq: Int64
        let id: UUID
        let author: String
        /// The encoded `message` frame.
        fileprivate(set) var frame: ByteBuffer
        /// When this server learnt of the message; for one read from the shard, when it must have
        /// been sent. Its age counts from here.
        let arrivedAt: ContinuousClock.Instant
        /// The place of the message among all that the room wrote to its sockets, 1, 2, 3 …;
        /// 0 when it was never written because it was read before anybody was there.
        let ordinal: UInt64
        /// When it was written to the sockets.
        let writtenAt: ContinuousClock.Instant
        /// The highest ordinal of this and all entries below it.
        fileprivate(set) var highestOrdinal: UInt64 = 0
    }

    /// What became of an insertion.
    enum Insertion: Equatable {
        case inserted
        /// The window has it.
        case known
        /// The window has another message with this `seq`: the shard has lost what it had told.
        case contradicted
        /// It lies below what the window covers.
        case old
    }

    /// What the window has without a hole: everything above `floor` up to `head`.
    private struct Coverage {
        var floor: Int64
        var head: Int64
    }

    private let limits: WindowLimits
    private(set) var entries: Deque<Entry> = []
    private(set) var bytes = 0
    /// Nil until the shard was read.
    private var coverage: Coverage?
    /// The window has every message that arrived after this instant; nil when it has all.
    private(set) var coveredSince: ContinuousClock.Instant?

    init(limits: WindowLimits) {
        self.limits = limits
    }

    /// Whether the shard was read, so that ``head`` and ``floor`` mean something.
    var isAnchored: Bool { coverage != nil }

    /// The highest `seq` up to which nothing is missing; 0 before the shard was read.
    var head: Int64 { coverage?.head ?? 0 }

    /// The `seq` below the first that the window covers; nil before the shard was read.
    var floor: Int64? { coverage?.floor }

    /// The highest `seq` that was heard of; 0 when none was.
    var newest: Int64 { max(head, entries.last?.seq ?? 0) }

    /// The message with that `seq`; nil when it is not here.
    var newestID: UUID? { entries.last.flatMap { $0.seq == newest ? $0.id : nil } }

    /// Whether a message is missing below one that is here.
    var hasGap: Bool { isAnchored && newest > head }

    /// Adds a message unless the window has it, and lets go of the oldest when that is too much.
    mutating func insert(_ entry: Entry) -> Insertion {
        if let coverage, entry.seq <= coverage.floor { return .old }
        let index = firstIndex(above: entry.seq)
        if index > 0, entries[index - 1].seq == entry.seq {
            return entries[index - 1].id == entry.id ? .known : .contradicted
        }
        place(entry, at: index)
        advanceHead()
        while entries.count > 1, entries.count > limits.messages || bytes > limits.bytes {
            evictOldest()
        }
        return .inserted
    }

    /// Adds a message that a shard has just told of, and lets go of whatever contradicts it: the
    /// message that had its `seq`, and all above, which were committed later and are lost, too.
    mutating func replace(with entry: Entry) {
        while let last = entries.last, last.seq >= entry.seq { removeNewest() }
        if let coverage, coverage.head >= entry.seq { self.coverage?.head = entry.seq - 1 }
        _ = insert(entry)
    }

    /// The message with this `seq`; nil when it is not here.
    func id(at seq: Int64) -> UUID? {
        let index = firstIndex(above: seq) - 1
        return index >= 0 && entries[index].seq == seq ? entries[index].id : nil
    }

    /// Takes the text out of a message that the event with the place `seq` has deleted.
    mutating func empty(_ id: UUID, deletedBy seq: Int64) {
        guard let index = entries.lastIndex(where: { $0.id == id }) else { return }
        bytes -= entries[index].frame.readableBytes
        entries[index].frame = ServerFrame.emptied(entries[index].frame, deletedBy: seq)
        bytes += entries[index].frame.readableBytes
    }

    /// Lets go of all above `seq`, which is the highest that the shard has: it has lost them.
    mutating func rewind(to seq: Int64) {
        while let last = entries.last, last.seq > seq { removeNewest() }
        guard let coverage, coverage.head > seq else { return }
        self.coverage = Coverage(floor: min(coverage.floor, seq), head: seq)
    }

    /// The ids that are not here, in their order.
    ///
    /// - Complexity: one look at each entry down to the oldest of the ids.
    func lacking(_ ids: [UUID]) -> [UUID] {
        var missing = Set(ids)
        for entry in entries.reversed() {
            if missing.isEmpty { return [] }
            missing.remove(entry.id)
        }
        return ids.filter { missing.contains($0) }
    }

    /// Takes the newest messages of the room as the shard has them.
    ///
    /// - Parameters:
    ///   - page: without holes, oldest first. What was inserted below it is let go.
    ///   - head: the room's highest `seq` at the time of the read.
    ///   - isWhole: whether the room has nothing older than the page.
    /// - Returns: the entries that the window had not.
    mutating func anchor(_ page: [Entry], head: Int64, isWhole: Bool) -> [Entry] {
        let floor = isWhole ? 0 : page.first.map { $0.seq - 1 } ?? head
        while let first = entries.first, first.seq <= floor { removeOldest() }
        coverage = Coverage(floor: floor, head: floor)
        coveredSince = isWhole ? nil : page.first?.arrivedAt
        let added = page.filter { entry in
            switch insert(entry) {
            case .inserted: return true
            case .known, .old: return false
            case .contradicted:
                replace(with: entry)
                return true
            }
        }
        settle(upTo: page.last?.seq ?? head)
        return added
    }

    /// Takes it that every message up to `seq` that the shard has is here: a place that is still
    /// empty will stay so.
    mutating func settle(upTo seq: Int64) {
        guard let coverage, coverage.head < seq else { return }
        self.coverage?.head = seq
        advanceHead()
    }

    /// Lets go of what is too old.
    mutating func trim(now: ContinuousClock.Instant) {
        while entries.count > limits.keptMessages, let oldest = entries.first,
            now - oldest.arrivedAt > limits.age
        {
            evictOldest()
        }
    }

    /// The position of the first entry above `seq`; the count of entries when there is none.
    func firstIndex(above seq: Int64) -> Int {
        // Nearly always the newest.
        guard let last = entries.last, last.seq > seq else { return entries.count }
        var lower = 0
        var upper = entries.count - 1
        while lower < upper {
            let middle = (lower + upper) / 2
            if entries[middle].seq > seq { upper = middle } else { lower = middle + 1 }
        }
        return lower
    }

    private mutating func place(_ entry: Entry, at index: Int) {
        bytes += entry.frame.readableBytes
        entries.insert(entry, at: index)
        var index = index
        while index < entries.count {
            let below = index > 0 ? entries[index - 1].highestOrdinal : 0
            let highest = max(below, entries[index].ordinal)
            if entries[index].highestOrdinal == highest { return }
            entries[index].highestOrdinal = highest
            index += 1
        }
    }

    private mutating func advanceHead() {
        guard var head = coverage?.head else { return }
        var index = firstIndex(above: head)
        while index < entries.count, entries[index].seq == head + 1 {
            head += 1
            index += 1
        }
        coverage?.head = head
    }

    private mutating func evictOldest() {
        guard let oldest = entries.first else { return }
        coveredSince = max(coveredSince ?? oldest.arrivedAt, oldest.arrivedAt)
        removeOldest()
        guard let coverage else { return }
        self.coverage?.floor = max(coverage.floor, oldest.seq)
        settle(upTo: oldest.seq)
    }

    private mutating func removeNewest() {
        bytes -= entries.removeLast().frame.readableBytes
    }

    private mutating func removeOldest() {
        bytes -= entries.removeFirst().frame.readableBytes
    }
}
