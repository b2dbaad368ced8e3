import BenchKit
import Foundation
import Glibc

/// Two `chatd` and their Redis, below the folder that the script clears: it also ends whatever has
/// left a `process.pid` there.
struct ChatServers {
    let ports: [Int]
    private let processes: [Process]

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
            try launch(
                redis, ["--port", "\(redisPort)", "--bind", "127.0.0.1", "--save", ""], [:],
                "redis", below: folder)
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
            processes.append(try launch(chatd, [], environment, name, below: folder))
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
        for process in processes.reversed() {
            process.terminate()
            let limit = ContinuousClock.now + .seconds(15)
            while process.isRunning {
                if ContinuousClock.now > limit { kill(process.processIdentifier, SIGKILL) }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private static func launch(
        _ program: String, _ words: [String], _ environment: [String: String], _ name: String,
        below folder: String
    ) throws -> Process {
        let home = URL(filePath: "\(folder)/\(name)")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        let log = home.appending(path: "log").path()
        _ = FileManager.default.createFile(atPath: log, contents: nil)
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = words
        process.currentDirectoryURL = home
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(forWritingAtPath: log)
        process.standardError = process.standardOutput
        try withoutBlockedSignals { try process.run() }
        try "\(process.processIdentifier)\n".write(
            to: home.appending(path: "process.pid"), atomically: true, encoding: .utf8)
        return process
    }
    /// A program inherits what its parent's thread has blocked, and the threads of tasks block
    /// everything: it could not be asked to stop.
    private static func withoutBlockedSignals(_ body: () throws -> Void) rethrows {
        var (none, before) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }
}
