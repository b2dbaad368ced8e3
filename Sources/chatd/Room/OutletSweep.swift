import DequeModule
import NIOCore

/// Frames on their way to the many members of a room on one loop, in a circle: each turn writes to
/// the next slice of the members whatever they lack.
///
/// A frame that comes while the circle is half way goes to the rest of the members at once and to
/// the others when their turn comes again. So nobody waits longer than a circle takes, what waits
/// leaves together, and between slices the loop does other work.
///
/// Used on one event loop.
struct OutletSweep {
    private struct Entry {
        let delivery: LoopOutlet.Delivery
        let number: UInt64
        /// Members whose turn has not come yet.
        var remaining: Int
    }

    /// Entries that are written together.
    private struct Piece {
        let deliveries: [LoopOutlet.Delivery]
        let frames: SharedFrames
        /// Whether somebody is left out of one.
        let hasExceptions: Bool

        init(_ deliveries: [LoopOutlet.Delivery]) {
            self.deliveries = deliveries
            frames = SharedFrames(deliveries.map(\.frame))
            hasExceptions = deliveries.contains { $0.except != nil }
        }
    }

    let readers: LoopOutlet.Readers
    /// Oldest first; no member's turn comes twice while an entry is here.
    private var entries: Deque<Entry> = []
    /// Whose turn is next.
    private var cursor = 0
    private var lastNumber: UInt64 = 0
    /// Who has got what waited out of turn, and up to which number.
    private var early: [ObjectIdentifier: UInt64] = [:]
    /// The entries in the form of the wire; nil until they are needed.
    private var pieces: [Piece]?

    init(_ readers: LoopOutlet.Readers) {
        self.readers = readers
    }

    var isDone: Bool { entries.isEmpty }

    mutating func add(_ delivery: LoopOutlet.Delivery) {
        lastNumber += 1
        entries.append(
            Entry(delivery: delivery, number: lastNumber, remaining: readers.members.count))
        pieces = nil
    }

    /// Writes what they lack to the next members, at most `count`, and flushes them.
    mutating func advance(_ count: Int) {
        guard let oldest = entries.first else { return }
        let members = readers.members
        let end = min(cursor + min(count, oldest.remaining), members.count)
        let pieces = shared()
        for member in members[cursor..<end] {
            if !early.isEmpty, let known = early.removeValue(forKey: ObjectIdentifier(member)) {
                for entry in entries where entry.number > known { entry.delivery.write(to: member) }
                member.socket.flush()
            } else {
                for piece in pieces { write(piece, to: member) }
            }
        }
        for index in entries.indices { entries[index].remaining -= end - cursor }
        cursor = end == members.count ? 0 : end
        while let oldest = entries.first, oldest.remaining == 0 {
            entries.removeFirst()
            self.pieces = nil
        }
    }

    /// Writes what they lack to all members.
    mutating func finish() {
        while !isDone { advance(readers.members.count) }
    }

    /// Whether `member` lacks something that others may have.
    func isBehind(_ member: Member) -> Bool {
        guard let place = readers.place(of: member) else { return false }
        return entries.contains { lacks($0, member, place) }
    }

    /// Writes to `member` what it lacks, out of turn, because something follows. Does not flush.
    mutating func hurry(_ member: Member) {
        guard let place = readers.place(of: member) else { return }
        for entry in entries where lacks(entry, member, place) {
            entry.delivery.write(to: member)
        }
        early[ObjectIdentifier(member)] = lastNumber
    }

    private func lacks(_ entry: Entry, _ member: Member, _ place: Int) -> Bool {
        let count = readers.members.count
        let visited = count - entry.remaining
        // How many turns after the entry's first one the member's was, or will be.
        let turn = (place - cursor + visited + count) % count
        return turn >= visited && entry.number > early[ObjectIdentifier(member), default: 0]
    }

    // MARK: The form of the wire

    private mutating func shared() -> [Piece] {
        if let pieces { return pieces }
        var pieces: [Piece] = []
        var deliveries: [LoopOutlet.Delivery] = []
        var bytes = 0
        for entry in entries {
            if bytes >= SharedFrames.bytesAtMost {
                pieces.append(Piece(deliveries))
                (deliveries, bytes) = ([], 0)
            }
            deliveries.append(entry.delivery)
            bytes += entry.delivery.frame.readableBytes
        }
        pieces.append(Piece(deliveries))
        self.pieces = pieces
        return pieces
    }

    private func write(_ piece: Piece, to member: Member) {
        guard !member.isOver else { return }
        if piece.hasExceptions, piece.deliveries.contains(where: { $0.except == member.id }) {
            for delivery in piece.deliveries { delivery.write(to: member) }
            member.socket.flush()
        } else if member.canTake(within: piece.deliveries[0].pendingBytes) {
            member.socket.write(piece.frames, flushing: true)
        } else {
            for delivery in piece.deliveries { member.skipped(delivery.kind) }
        }
    }
}
