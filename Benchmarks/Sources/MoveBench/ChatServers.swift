import BenchKit
import Foundation

/// Two `chatd` and their Redis, below the folder that the script clears: it also ends whatever has
/// left a `process.pid` there.
struct ChatServers {
    let ports: [Int]
    private let processes: [Daemon]

    /// - Returns: nil when the programs are not there.
    static func start(_ cluster: BenchCluster, below folder: String) throws -> ChatServers? {
        let programs = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent()
        let chatd = programs.appending(path: "chatd").path()
        let redis = "/usr/bin/redis-server"
        guard FileManager.default.isExecutableFile(atPath: chatd),
            FileManager.default.isExecutableFile(atPath: redis)
        else { return nil }
        let redisPort = try freePort()
        var processes = [
            try Daemon(
                redis, ["--port", "\(redisPort)", "--bind", "127.0.0.1", "--save", ""],
                home: "redis", below: folder)
        ]
        let ports = [try freePort(), try freePort()]
        for (place, port) in ports.enumerated() {
            let name = "chatd-\(place + 1)"
            let environment = [
                "SHARD_CATALOG": cluster.catalog.server.place(
                    cluster.catalog.database, user: "chatd"),
                "CHATD_REDIS_URL": "redis://127.0.0.1:\(redisPort)",
                "CHATD_BIND": "127.0.0.1:\(port)", "CHATD_SERVER_NAME": name,
                "CHATD_TOPOLOGY_FILE": "\(folder)/\(name)/topology",
                "CHATD_SPOOL_DIR": "\(folder)/\(name)/spool", "CHATD_AUTH": "open",
            ]
            processes.append(try Daemon(chatd, [], environment, home: name, below: folder))
        }
        return ChatServers(ports: ports, processes: processes)
    }

    /// Returns when all of them take clients.
    func ready() async throws {
        for port in ports {
            let limit = ContinuousClock.now + .seconds(30)
            while true {
                do {
                    try await ChatSocket.open(room: "ready", user: "caller", port: port).close()
                    break
                } catch {
                    guard ContinuousClock.now < limit else { throw error }
                    try await Task.sleep(for: .milliseconds(100))
                }
            }
        }
    }

    /// Ends them; their folders stay.
    func stop() async throws {
        for process in processes.reversed() { try await process.stop() }
    }
}
