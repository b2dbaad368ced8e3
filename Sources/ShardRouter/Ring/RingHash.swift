/// The position of rooms on the ring: PostgreSQL's own `hashtextextended(room_id, seed)`.
///
/// Any operator can ask `psql` for the same number. The algorithm is Bob Jenkins' lookup3 with a
/// 64-bit seed, as in `hash_bytes_extended` of PostgreSQL (`src/common/hashfn.c`); it has been the
/// same since PostgreSQL 11. Tests compare it with a running server.
public struct RingHash: Hashable, Sendable {
    /// Drawn once for a cluster and fixed for ever, so that nobody can aim room names at one slot.
    public let seed: Int64

    public init(seed: Int64) {
        self.seed = seed
    }

    /// The slot of `room`: the top 14 bits of its hash. Allocates nothing.
    public func slot(of room: RoomID) -> Slot {
        Slot(Int((hash(room) >> 50) & 16_383))
    }

    /// The position of `room`, signed as PostgreSQL's `bigint`. Allocates nothing.
    public func hash(_ room: RoomID) -> Int64 {
        room.withBytes { hash($0) }
    }

    /// The hash of any bytes.
    public func hash(_ bytes: UnsafeRawBufferPointer) -> Int64 {
        var state = JenkinsState(length: bytes.count, seed: UInt64(bitPattern: seed))
        var offset = 0
        while bytes.count - offset >= 12 {
            state.a &+= word(bytes, at: offset)
            state.b &+= word(bytes, at: offset + 4)
            state.c &+= word(bytes, at: offset + 8)
            state.mix()
            offset += 12
        }
        // The lowest byte of `c` belongs to the length, so its tail bytes stand one place higher.
        for (place, index) in (offset..<bytes.count).enumerated() {
            let byte = UInt32(bytes[index])
            switch place {
            case 0..<4: state.a &+= byte &<< UInt32(8 * place)
            case 4..<8: state.b &+= byte &<< UInt32(8 * (place - 4))
            default: state.c &+= byte &<< UInt32(8 * (place - 7))
            }
        }
        state.finish()
        return Int64(bitPattern: UInt64(state.b) << 32 | UInt64(state.c))
    }

    @inline(__always)
    private func word(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt32 {
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}

/// The three words that lookup3 works on.
private struct JenkinsState {
    var a: UInt32
    var b: UInt32
    var c: UInt32

    @inline(__always)
    init(length: Int, seed: UInt64) {
        let start = 0x9e37_79b9 &+ UInt32(truncatingIfNeeded: length) &+ 3_923_095
        (a, b, c) = (start, start, start)
        guard seed != 0 else { return }
        a &+= UInt32(truncatingIfNeeded: seed >> 32)
        b &+= UInt32(truncatingIfNeeded: seed)
        mix()
    }

    @inline(__always)
    mutating func mix() {
        a &-= c; a ^= rotated(c, by: 4); c &+= b
        b &-= a; b ^= rotated(a, by: 6); a &+= c
        c &-= b; c ^= rotated(b, by: 8); b &+= a
        a &-= c; a ^= rotated(c, by: 16); c &+= b
        b &-= a; b ^= rotated(a, by: 19); a &+= c
        c &-= b; c ^= rotated(b, by: 4); b &+= a
    }

    @inline(__always)
    mutating func finish() {
        c ^= b; c &-= rotated(b, by: 14)
        a ^= c; a &-= rotated(c, by: 11)
        b ^= a; b &-= rotated(a, by: 25)
        c ^= b; c &-= rotated(b, by: 16)
        a ^= c; a &-= rotated(c, by: 4)
        b ^= a; b &-= rotated(a, by: 14)
        c ^= b; c &-= rotated(b, by: 24)
    }

    @inline(__always)
    private func rotated(_ word: UInt32, by bits: UInt32) -> UInt32 {
        word &<< bits | word &>> (32 &- bits)
    }
}
