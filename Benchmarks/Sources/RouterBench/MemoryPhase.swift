import BenchKit
import CBench
import Foundation
import Postgres
import ShardRouter

/// What waiting messages and shards cost in memory.
struct MemoryPhase {
    let stage: Stage
    private static let manyShards = 64

    func run(_ report: inout Report) async throws {
        report.add(
            Figure(
                name: "7 memory of 1,000 waiting messages",
                ours: try await waitingBytesPerThousand() / 1_024, unit: "KiB",
                note: "with their callers' tasks and texts of 100 bytes, malloc'd"))
        let many = try await BenchCluster.make(
            "many", on: [stage.servers[0]], shards: Self.manyShards, repository: stage.repository)
        let few = try Self.residentBytesInChild(stage.one)
        let all = try Self.residentBytesInChild(many)
        report.add(
            Figure(
                name: "7 memory of one shard more, of \(Self.manyShards)",
                ours: Double(all - few) / Double(Self.manyShards - 1) / 1_024, unit: "KiB",
                note: "resident: \(all / 1_048_576) MiB with \(Self.manyShards) shards, "
                    + "\(few / 1_048_576) MiB with one, after a load of 256 callers"))
    }

    /// Stalls the shard, lets messages wait, and counts what they hold.
    private func waitingBytesPerThousand() async throws -> Double {
        let (few, more) = (2_000, 12_000)
        return try await withDatabase(stage.one.shards[0].connectionString) { connection in
            try await withRouter(stage.one) { router in
                let plan = stage.plan
                _ = try await storeLoad(router, callers: 64, plan: plan, watching: stage.one)
                try await connection.script(
                    "begin; lock table public.messages, public.rooms in access exclusive mode",
                    deadline: .now + .seconds(20))
                return try await withThrowingTaskGroup(of: Void.self) { group in
                    var bytes: [Double] = []
                    for count in [few, more - few] {
                        for number in 0..<count {
                            group.addTask {
                                let room = RoomID(Plan.roomName(number % plan.rooms))
                                let message = Message(
                                    id: UUID(), room: room, author: "somebody", sentAt: .now,
                                    receivedAt: .now, text: String(repeating: "x", count: 100))
                                _ = try await router.store(message, patience: .seconds(60))
                            }
                        }
                        bytes.append(try await settledBytes())
                    }
                    try await connection.script("rollback", deadline: .now + .seconds(20))
                    try await group.waitForAll()
                    return (bytes[1] - bytes[0]) / Double(more - few) * 1_000
                }
            }
        }
    }

    /// Waits until the memory in use stands still.
    private func settledBytes() async throws -> Double {
        var last = 0.0
        for _ in 0..<50 {
            try await Task.sleep(for: .milliseconds(50))
            let bytes = Double(cbench_bytes_in_use())
            if abs(bytes - last) < 20_000 { return bytes }
            last = bytes
        }
        return last
    }

    /// In a process of its own, since memory that was freed stays resident.
    private static func residentBytesInChild(_ cluster: BenchCluster) throws -> Int {
        let output = try shell(
            "'\(CommandLine.arguments[0])' resident '\(cluster.catalog.server.port)' "
                + "'\(cluster.catalog.database)'")
        guard let bytes = Int(output.split(separator: "\n").last ?? "") else {
            throw BenchError(description: "no number in: \(output)")
        }
        return bytes
    }

    /// The child: loads a router on the catalog and prints its resident bytes.
    static func printResidentBytes(port: Int, database: String) async throws {
        let server = BenchServer(port: port, folder: "", process: 0)
        let cluster = BenchCluster(
            catalog: BenchCluster.Place(server: server, database: database), shards: [])
        var plan = Plan.full
        plan.seconds = 3
        let load = plan
        let bytes = try await withRouter(cluster) { router in
            _ = try await storeLoad(router, callers: 256, plan: load, watching: cluster)
            return residentBytes()
        }
        print(bytes)
    }
}

/// What this process holds in memory now.
func residentBytes() -> Int {
    let status = FileManager.default.contents(atPath: "/proc/self/statm") ?? Data()
    let pages = String(decoding: status, as: UTF8.self).split(separator: " ").dropFirst().first
    return (pages.flatMap { Int($0) } ?? 0) * Int(getpagesize())
}
