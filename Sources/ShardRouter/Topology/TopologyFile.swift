import FoundationEssentials

/// Why a file with a topology cannot be used.
public enum TopologyFileError: Error, Equatable, Sendable {
    /// The file cannot be read or written.
    case unreachable(path: String, reason: String)
    /// The file is not what a router writes, or its checksum does not match.
    case damaged(path: String, reason: String)
}

/// The last topology that a router knew, on disk: what it starts from while the catalog is away.
///
/// Holds no secrets. Written beside the file and renamed, so a crash leaves the old one whole.
public struct TopologyFile: Sendable {
    /// Raised when the format changes; a file of another version is not used.
    static let version = 1

    public let path: String

    public init(path: String) {
        self.path = path
    }

    /// The topology in the file; nil when there is no file.
    public func read() throws(TopologyFileError) -> Topology? {
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            throw .unreachable(path: path, reason: "\(error)")
        }
        do {
            let stored = try JSONDecoder().decode(Stored.self, from: data)
            guard stored.version == Self.version else {
                throw TopologyFileError.damaged(path: path, reason: "version \(stored.version)")
            }
            guard try stored.topology.checksum() == stored.checksum else {
                throw TopologyFileError.damaged(path: path, reason: "the checksum differs")
            }
            return try stored.topology.topology()
        } catch let error as TopologyFileError {
            throw error
        } catch {
            throw .damaged(path: path, reason: "\(error)")
        }
    }

    /// Replaces the file's content by `topology`; afterwards it is either the old or the new one.
    public func write(_ topology: Topology) throws(TopologyFileError) {
        do {
            let flat = FlatTopology(topology)
            let stored = Stored(
                version: Self.version, checksum: try flat.checksum(), topology: flat)
            let url = URL(filePath: path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try JSONEncoder().encode(stored).write(to: url, options: .atomic)
        } catch {
            throw .unreachable(path: path, reason: "\(error)")
        }
    }

    private struct Stored: Codable {
        var version: Int
        var checksum: Int64
        var topology: FlatTopology
    }
}

/// A topology with its long arrays as runs of equal values.
private struct FlatTopology: Codable {
    struct FlatShard: Codable {
        var id: Int
        var name: String
        var endpoint: String
        var weight: Int
        var state: ShardState
    }

    struct Run: Codable {
        var owner: Int
        var epoch: Int64
        var length: Int
    }

    var clusterID: UUID
    var seed: Int64
    var epoch: Int64
    var shards: [FlatShard]
    var runs: [Run]

    init(_ topology: Topology) {
        clusterID = topology.clusterID
        seed = topology.seed
        epoch = topology.epoch.number
        shards = topology.shards.map {
            FlatShard(
                id: $0.id.number, name: $0.name, endpoint: $0.endpoint, weight: $0.weight,
                state: $0.state)
        }
        runs = []
        for (owner, epoch) in zip(topology.owners, topology.slotEpochs) {
            if let last = runs.last, last.owner == owner.number, last.epoch == epoch.number {
                runs[runs.count - 1].length += 1
            } else {
                runs.append(Run(owner: owner.number, epoch: epoch.number, length: 1))
            }
        }
    }

    func topology() throws -> Topology {
        let total = runs.reduce(into: 0) { $0 += min(max($1.length, 0), Slot.count) }
        guard total <= Slot.count else { throw TopologyError.wrongSlotCount(found: total) }
        return try Topology(
            clusterID: clusterID, seed: seed, epoch: Epoch(epoch),
            shards: shards.map {
                Shard(
                    id: ShardID($0.id), name: $0.name, endpoint: $0.endpoint, weight: $0.weight,
                    state: $0.state)
            },
            owners: runs.flatMap { Array(repeating: ShardID($0.owner), count: max($0.length, 0)) },
            slotEpochs: runs.flatMap {
                Array(repeating: Epoch($0.epoch), count: max($0.length, 0))
            })
    }

    /// Over the content in one fixed form, whatever the file's own layout is.
    func checksum() throws -> Int64 {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return try encoder.encode(self).withUnsafeBytes { RingHash(seed: 1).hash($0) }
    }
}
