import FoundationEssentials

/// Reads the write-ahead log of a SQLite file, to see whether SQLite would silently drop commits.
///
/// SQLite ends reading a log at the first frame whose checksum is wrong, as it must after a crash
/// in the middle of a commit. Since every commit is on the disk before the next one begins, only
/// the last one can be torn; a wrong frame with several commits after it is damage.
///
/// The format is described at https://sqlite.org/walformat.html.
struct SpoolLog {
    private static let headerBytes = 32
    private static let frameHeaderBytes = 24
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Why commits in the log would be lost; nil when none would.
    var damage: String? {
        guard bytes.count > Self.headerBytes else { return nil }
        let pageBytes = Int(word(8))
        guard (512...65_536).contains(pageBytes), pageBytes.nonzeroBitCount == 1 else {
            return "the head of its log is damaged"
        }
        let frames = (bytes.count - Self.headerBytes) / (Self.frameHeaderBytes + pageBytes)
        let sound = soundFrames(of: frames, pageBytes)
        // After a wrong head nothing is known of the log but its frames.
        let salts = sound == nil ? frameSalts(0, pageBytes) : (word(16), word(20))
        let lost = ((sound ?? 0)..<frames).count { frame in
            frameSalts(frame, pageBytes) == salts && word(start(frame, pageBytes) + 4) != 0
        }
        guard lost > 1 else { return nil }
        return "its log breaks off at page \(sound ?? 0) of \(frames), with \(lost) commits behind"
    }

    /// How many frames have the checksum that they must have; nil when the head's is wrong.
    private func soundFrames(of frames: Int, _ pageBytes: Int) -> Int? {
        var sums: (UInt32, UInt32) = (0, 0)
        add(0..<24, to: &sums)
        guard sums == (word(24), word(28)) else { return nil }
        let salts = (word(16), word(20))
        for frame in 0..<frames {
            let start = start(frame, pageBytes)
            add(start..<start + 8, to: &sums)
            add(start + 24..<start + 24 + pageBytes, to: &sums)
            guard frameSalts(frame, pageBytes) == salts,
                sums == (word(start + 16), word(start + 20))
            else { return frame }
        }
        return frames
    }

    private func start(_ frame: Int, _ pageBytes: Int) -> Int {
        Self.headerBytes + frame * (Self.frameHeaderBytes + pageBytes)
    }

    private func frameSalts(_ frame: Int, _ pageBytes: Int) -> (UInt32, UInt32) {
        let start = start(frame, pageBytes)
        guard start + Self.frameHeaderBytes <= bytes.count else { return (0, 0) }
        return (word(start + 8), word(start + 12))
    }

    /// Big-endian, like everything in the log but what is summed.
    private func word(_ offset: Int) -> UInt32 {
        bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The log's checksum over an even number of words, in the byte order that its magic names.
    private func add(_ range: Range<Int>, to sums: inout (UInt32, UInt32)) {
        let isBigEndian = bytes[3] & 1 == 1
        bytes.withUnsafeBytes { bytes in
            for offset in stride(from: range.lowerBound, to: range.upperBound, by: 8) {
                let first = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
                let second = bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
                sums.0 &+= (isBigEndian ? first.bigEndian : first.littleEndian) &+ sums.1
                sums.1 &+= (isBigEndian ? second.bigEndian : second.littleEndian) &+ sums.0
            }
        }
    }
}
