import DequeModule
import FoundationEssentials

/// What a client lacks, by its own word: the messages of a `sync` frame.
struct HeartbeatAnswer {
    /// Oldest first; never empty.
    var missing: [Window.Entry]
    /// Whether the client has everything once it has read `missing`.
    var isComplete: Bool

    /// What the room knows of the socket that the heartbeat came from.
    struct Reader {
        var user: String
        /// The room's last ordinal when the socket joined: it was written only what came later.
        var joinedOrdinal: UInt64 = 0
        /// The last ordinal that was not written to the socket because it was too slow.
        var skippedOrdinal: UInt64 = 0
        /// The last `sync` that was written to the socket.
        var lastSync: Sync?
        /// Nil while unknown.
        var roundTrip: Duration?
    }

    /// A `sync` that was written to a socket.
    struct Sync {
        /// The highest `seq` in it: everything up to there that was missing then was in it.
        var newest: Int64
        /// The room's last ordinal at that time.
        var ordinal: UInt64
        var writtenAt: ContinuousClock.Instant
    }

    /// The answer to `report`, which arrived at `now`; nil when nothing is missing.
    ///
    /// The founding form (ids without `upTo`) lacks whatever arrived in the last minute and is not
    /// listed. With `upTo` the client lacks what is above it and not listed, except what is still
    /// on its way to it.
    static func answer(
        to report: Heartbeat.Report, from reader: Reader, window: Window,
        now: ContinuousClock.Instant, limits: ChatLimits
    ) -> HeartbeatAnswer? {
        switch report {
        case .nothing:
            return nil
        case .ids(let ids, upTo: nil):
            return founding(ids, window, now, limits)
        case .ids(let ids, upTo: let upTo?):
            return answer(above: upTo, ids, reader, window, now, limits)
        case .compact(let upTo, count: _, digest: _):
            return answer(above: upTo, [], reader, window, now, limits)
        }
    }

    private static func founding(
        _ ids: [UUID], _ window: Window, _ now: ContinuousClock.Instant, _ limits: ChatLimits
    ) -> HeartbeatAnswer? {
        let since = now - limits.room.founding
        let recent = window.entries.lazy.filter { $0.arrivedAt >= since }
        guard !recent.isEmpty else { return nil }
        let seen = Set(ids)
        let coversAll = window.isAnchored && (window.coveredSince.map { $0 <= since } ?? true)
        return cut(recent.filter { !seen.contains($0.id) }, coversAll: coversAll, limits)
    }

    private static func answer(
        above upTo: Int64, _ ids: [UUID], _ reader: Reader, _ window: Window,
        _ now: ContinuousClock.Instant, _ limits: ChatLimits
    ) -> HeartbeatAnswer? {
        let start = window.firstIndex(above: upTo)
        guard start < window.entries.count else { return nil }
        let seen = Set(ids)
        // What the client has read last from this socket, as far as its report shows: TCP keeps
        // the order, so that whatever was written before has arrived or never will. Its own
        // messages show nothing, it knows them before they come back.
        var shown = start > 0 ? window.entries[start - 1].highestOrdinal : 0
        var unseen: [Window.Entry] = []
        for entry in window.entries[start...] {
            if !seen.contains(entry.id) {
                unseen.append(entry)
            } else if entry.author != reader.user {
                shown = max(shown, entry.ordinal)
            }
        }
        let flight = InFlight(reader: reader, shown: shown, now: now, limits: limits.room)
        let coversAll = !window.hasGap && (window.floor.map { upTo >= $0 } ?? false)
        return cut(unseen.filter { !flight.contains($0) }, coversAll: coversAll, limits)
    }

    /// Bounds the answer by messages and bytes.
    private static func cut(
        _ missing: some Sequence<Window.Entry>, coversAll: Bool, _ limits: ChatLimits
    ) -> HeartbeatAnswer? {
        let missing = Array(missing)
        guard !missing.isEmpty else { return nil }
        let fitting = ServerFrame.countWithin(limits.pageBytes, missing.lazy.map(\.frame))
        let count = min(fitting, limits.syncMessages)
        return HeartbeatAnswer(
            missing: Array(missing.prefix(count)),
            isComplete: coversAll && count == missing.count)
    }
}

/// Which messages are on their way to a socket: written to it, and the client cannot have read
/// them when it sent its heartbeat.
private struct InFlight {
    private let reader: HeartbeatAnswer.Reader
    private let shown: UInt64
    /// What was written earlier has arrived or is lost.
    private let since: ContinuousClock.Instant

    init(
        reader: HeartbeatAnswer.Reader, shown: UInt64, now: ContinuousClock.Instant,
        limits: RoomLimits
    ) {
        self.reader = reader
        self.shown = shown
        let flight = reader.roundTrip.map { $0 * 2 + limits.flightSlack } ?? limits.unknownFlight
        since = now - flight
    }

    func contains(_ entry: Window.Entry) -> Bool {
        let wasWritten =
            entry.ordinal > max(reader.joinedOrdinal, reader.skippedOrdinal, shown)
            && entry.writtenAt > since
        return wasWritten || isInLastSync(entry)
    }

    private func isInLastSync(_ entry: Window.Entry) -> Bool {
        guard let sync = reader.lastSync, sync.writtenAt > since else { return false }
        return entry.seq <= sync.newest && entry.ordinal <= sync.ordinal && shown <= sync.ordinal
    }
}
