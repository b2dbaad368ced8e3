import FoundationEssentials
import ShardRouter
import Testing

@Suite struct TopologyTests {
    @Test func `a topology survives its file`() throws {
        let path = temporaryPath()
        defer { remove(path) }
        let topology = try sample()

        try TopologyFile(path: path).write(topology)

        #expect(try TopologyFile(path: path).read() == topology)
    }

    @Test func `a file that is not there is no topology`() throws {
        #expect(try TopologyFile(path: temporaryPath()).read() == nil)
    }

    @Test func `a changed byte makes the file unusable`() throws {
        let path = temporaryPath()
        defer { remove(path) }
        try TopologyFile(path: path).write(try sample())
        let text = try String(contentsOf: URL(filePath: path), encoding: .utf8)
        let changed = text.replacing("shard-b", with: "shard-x")
        try #require(changed != text)
        try Data(changed.utf8).write(to: URL(filePath: path))

        #expect(throws: TopologyFileError.damaged(path: path, reason: "the checksum differs")) {
            try TopologyFile(path: path).read()
        }
    }

    @Test func `an unknown owner is refused`() {
        #expect(throws: TopologyError.unknownOwner(slot: Slot(0), shard: ShardID(9))) {
            try Topology(
                clusterID: UUID(), seed: 1, epoch: Epoch(1), shards: [],
                owners: Array(repeating: ShardID(9), count: Slot.count),
                slotEpochs: Array(repeating: Epoch(1), count: Slot.count))
        }
    }

    @Test(arguments: [-1, 1 << 48] as [Int64])
    func `an epoch that does not fit is refused`(epoch: Int64) {
        let shard = Shard(
            id: ShardID(1), name: "one", endpoint: "", weight: 1, state: .active)

        #expect(throws: TopologyError.badEpoch(epoch)) {
            try Topology(
                clusterID: UUID(), seed: 1, epoch: Epoch(1), shards: [shard],
                owners: Array(repeating: ShardID(1), count: Slot.count),
                slotEpochs: Array(repeating: Epoch(epoch), count: Slot.count))
        }
    }

    @Test func `two shards of one name are refused`() {
        let shards = [1, 2].map {
            Shard(id: ShardID($0), name: "same", endpoint: "", weight: 1, state: .active)
        }

        #expect(throws: TopologyError.duplicateShard("same")) {
            try Topology(
                clusterID: UUID(), seed: 1, epoch: Epoch(1), shards: shards, owners: [],
                slotEpochs: [])
        }
    }

    private func sample() throws -> Topology {
        let shards = [(1, "shard-a"), (2, "shard-b")].map {
            Shard(
                id: ShardID($0.0), name: $0.1, endpoint: "host=127.0.0.1 dbname=chat", weight: 1,
                state: .active)
        }
        let owners = try Claim.owners(
            current: Array(repeating: nil, count: Slot.count),
            weights: [ShardID(1): 1, ShardID(2): 2])
        return try Topology(
            clusterID: UUID(), seed: -5, epoch: Epoch(7), shards: shards, owners: owners,
            slotEpochs: owners.indices.map { Epoch($0 < 100 ? 7 : 1) })
    }

    private func temporaryPath() -> String {
        FileManager.default.temporaryDirectory
            .appending(path: "topology-\(UUID().uuidString)/topology.json").path()
    }

    private func remove(_ path: String) {
        let folder = URL(filePath: path).deletingLastPathComponent()
        do {
            try FileManager.default.removeItem(at: folder)
        } catch {
            Issue.record("cannot remove \(folder): \(error)")
        }
    }
}
