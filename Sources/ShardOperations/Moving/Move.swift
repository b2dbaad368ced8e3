import FoundationEssentials
public import Postgres
public import ShardRouter

/// The transfer of a set of slots from one shard to another, as the catalog's journal has it.
public struct Move: Sendable {
    public enum State: String, Sendable {
        case open, done, aborted
    }

    public var id: Int64
    public var plan: Int64?
    public var source: Shard
    public var target: Shard
    /// Ascending, each once.
    public var slots: [Int]
    /// The epoch of each slot before the move.
    public var epochs: [Int64]
    public var state: State
    public var reason: String
    public var reverses: Int64?
    public var openedAt: Timestamp
    public var closedAt: Timestamp?
    /// For people: what the runner did last. Nothing is decided by it.
    public var phase: String
    public var note: String?
    public var runner: String?
    public var seenAt: Timestamp?
    public var rows: Int64?
    public var bytes: Int64?
    /// How often its fence was lifted because the target was not ready in time.
    public var lifts: Int
    /// From the fence to the release at the source, in milliseconds.
    public var pauseMilliseconds: Double?
    public var verifiedAt: Timestamp?
    /// When the old copy at the source may be purged, and when it was.
    public var purgeAfter: Timestamp?
    public var purgedAt: Timestamp?
    /// Where the source's log was when the copy began; another one means that it failed over.
    var sourceTimeline: Int?
    let clusterID: UUID
    let seed: Int64

    /// What its publication, replication slot, subscription and sessions are called.
    var name: String { Self.prefix(clusterID) + "\(id)" }

    static func prefix(_ cluster: UUID) -> String {
        "mv_\(cluster.uuidString.lowercased().prefix(8))_"
    }

    /// `3–7, 9`
    public var slotRanges: String { Self.ranges(slots) }

    static func ranges(_ slots: [Int]) -> String {
        var runs: [ClosedRange<Int>] = []
        for slot in slots {
            if let last = runs.last, last.upperBound + 1 == slot {
                runs[runs.count - 1] = last.lowerBound...slot
            } else {
                runs.append(slot...slot)
            }
        }
        let texts = runs.map {
            $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)–\($0.upperBound)"
        }
        return texts.count <= 4
            ? texts.joined(separator: ", ")
            : texts.prefix(3).joined(separator: ", ") + " and \(texts.count - 3) runs more"
    }

    /// True in SQL for the rows of this move: one bit for each slot of the ring, so that a row costs
    /// the same whatever the number of slots.
    var rowFilter: String { SlotFilter(slots: slots, seed: seed).sql }
}

/// A set of slots as a condition on `room_id`.
struct SlotFilter {
    var slots: [Int]
    var seed: Int64

    var sql: String {
        var bits = [UInt8](repeating: 0, count: Slot.count / 8)
        for slot in slots { bits[slot / 8] |= 1 << UInt8(slot % 8) }
        let digits = bits.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }
        return "get_bit('\\x\(digits.joined())'::bytea, \(Self.slot("room_id", seed: seed))) = 1"
    }

    /// The slot of a room in SQL, from built-in functions alone: a row filter allows no others.
    static func slot(_ column: String, seed: Int64) -> String {
        "(hashtextextended(\(column), '\(seed)'::bigint) >> 50) & 16383"
    }
}
