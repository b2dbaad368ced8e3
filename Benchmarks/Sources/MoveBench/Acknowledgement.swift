import BenchKit
import Foundation

/// What a caller of the load was told, and when; the two processes exchange arrays of it as bytes.
///
/// - Invariant: no references and no padding that matters: it is written as it lies in memory.
struct Acknowledgement: BitwiseCopyable, Sendable {
    enum Kind: Int32, Sendable {
        case load, probe, read
    }

    var kind: Int32
    /// A place among the rooms of its kind.
    var room: Int32
    var seq: Int64
    var id: (UInt64, UInt64)
    /// When it was due, and when the answer came, by the monotonic clock.
    var due: Int64
    var at: Int64
    /// The shard that stored it; 0 where the caller is not told.
    var shard: Int64

    init(_ kind: Kind, room: Int, seq: Int64, id: UUID?, due: Int64, shard: Int = 0) {
        self.kind = kind.rawValue
        self.room = Int32(room)
        self.seq = seq
        self.id = id.map { unsafeBitCast($0.uuid, to: (UInt64, UInt64).self) } ?? (0, 0)
        self.due = due
        at = monotonic()
        self.shard = Int64(shard)
    }

    var uuid: UUID { UUID(uuid: unsafeBitCast(id, to: uuid_t.self)) }

    static func write(_ list: [Acknowledgement], to path: String) throws {
        try list.withUnsafeBytes { Data($0) }.write(to: URL(filePath: path))
    }

    static func read(_ path: String) throws -> [Acknowledgement] {
        let data = try Data(contentsOf: URL(filePath: path))
        return data.withUnsafeBytes { bytes in
            (0..<bytes.count / MemoryLayout<Acknowledgement>.stride).map {
                bytes.loadUnaligned(
                    fromByteOffset: $0 * MemoryLayout<Acknowledgement>.stride,
                    as: Acknowledgement.self)
            }
        }
    }
}

/// `instant` by the clock that all processes share.
func monotonic(_ instant: ContinuousClock.Instant) -> Int64 {
    monotonic() + Int64((instant - .now) / .nanoseconds(1))
}
