public import Foundation
import Glibc
import Postgres

/// A throw-away cluster of real servers below one folder: a catalog, shards and Redis.
///
/// Everybody on this machine may connect without a password (127.0.0.1 only): it is for
/// development. The data is durable; a later start finds it again.
public struct DevCluster: Sendable {
    /// One server of the cluster.
    public struct Server: Sendable, Equatable {
        public var name: String
        public var port: Int
        public var isRedis: Bool
        public var folder: String
        /// The process, when it runs.
        public var pid: Int?
    }

    public let folder: URL
    public let layout: DevLayout
    let migrations: URL

    public init(folder: URL, layout: DevLayout, migrations: URL) {
        self.folder = URL(filePath: ServerProcess.realPath(folder.standardizedFileURL.path()))
        self.layout = layout
        self.migrations = migrations
    }

    /// The operator's connection to the catalog.
    public var catalog: String {
        connection(port: layout.portBase, user: "postgres", database: "catalog")
    }

    /// chatd's connection to the catalog: it may read and append, and no more.
    public var chatdCatalog: String {
        connection(port: layout.portBase, user: "chatd", database: "catalog")
    }

    public var redisURL: String { "redis://127.0.0.1:\(layout.redisPort)" }

    /// The catalog, the shards and Redis, with what runs of them now.
    public var servers: [Server] {
        let shards = (0..<layout.shardCount).map { index in
            (
                "shard-\(Character(Unicode.Scalar(UInt8(97 + index))))",
                layout.portBase + 1 + index, false
            )
        }
        let all = [("catalog", layout.portBase, false)] + shards
        return (all + [("redis", layout.redisPort, true)]).map { name, port, isRedis in
            let path = path(name)
            let pid = ServerProcess.pid(
                file: path + (isRedis ? "/redis.pid" : "/postmaster.pid"), folder: path,
                mark: isRedis ? "127.0.0.1:\(port)" : path)
            return Server(name: name, port: port, isRedis: isRedis, folder: path, pid: pid)
        }
    }

    /// Starts what does not run, and makes the cluster ready for chatd.
    ///
    /// - Returns: the names of the servers that were started.
    /// - Throws: ``OperationError``; then whatever was started by this call is stopped again.
    public func up() async throws -> [String] {
        if let problem = layout.problem {
            throw OperationError.refused(problem, next: "shardctl dev up --help")
        }
        if let saved = try DevLayout.saved(in: folder), let why = layout.refusal(from: saved) {
            throw OperationError.refused(
                why, next: "use that, another --dir, or: shardctl dev down --wipe --yes")
        }
        let place = DevCluster(
            folder: try await enterableFolder(), layout: layout, migrations: migrations)
        return try await place.startMissing()
    }

    private func startMissing() async throws -> [String] {
        let missing = servers.filter { $0.pid == nil }
        try checkPorts(missing)
        // A new cluster is known from the first moment; a change of an old one when it worked.
        if try DevLayout.saved(in: folder) == nil { try layout.save(in: folder) }
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for server in missing {
                    group.addTask {
                        try await server.isRedis ? startRedis(server) : startPostgres(server)
                    }
                }
                try await group.waitForAll()
            }
            try await prepare()
            try layout.save(in: folder)
        } catch {
            if !missing.isEmpty { _ = try await down(only: Set(missing.map(\.name))) }
            throw error
        }
        return missing.map(\.name)
    }

    private func checkPorts(_ missing: [Server]) throws {
        for server in missing where ServerProcess.isListening(server.port) {
            let owner = ServerProcess.owner(ofPort: server.port) ?? "another program"
            throw OperationError.refused(
                "port \(server.port) (\(server.name)) is used by \(owner); nothing was started",
                next: "stop it, or choose others: shardctl dev up --port-base 55000 "
                    + "--redis-port 63800")
        }
    }

    /// Stops the servers, or those of `names`; returns the names of those that ran.
    public func down(only names: Set<String>? = nil) async throws -> [String] {
        let all = servers
        if let unknown = names?.subtracting(all.map(\.name)).min() {
            throw OperationError.refused(
                "the cluster has no server '\(unknown)'", next: "shardctl dev status")
        }
        let running = all.filter { $0.pid != nil && names?.contains($0.name) ?? true }
        for case let (server, pid?) in running.map({ ($0, $0.pid) }) {
            kill(pid_t(pid), server.isRedis ? SIGTERM : SIGINT)  // SIGINT: PostgreSQL's "fast".
        }
        let limit = ContinuousClock.now + .seconds(30)
        for case let (server, pid?) in running.map({ ($0, $0.pid) }) {
            while servers.contains(where: { $0.name == server.name && $0.pid == pid }) {
                guard ContinuousClock.now < limit else {
                    throw OperationError.failed(
                        "\(server.name) (process \(pid)) does not end", next: "kill \(pid)")
                }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        return running.map(\.name)
    }

    /// Stops everything and removes its data: the servers' folders and chatd's beside them.
    public func wipe() async throws -> [String] {
        let stopped = try await down()
        guard FileManager.default.fileExists(atPath: folder.path()) else { return stopped }
        let own = servers.flatMap { [$0.name, "\($0.name).new", "\($0.name).initdb.log"] }
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path())
        where own.contains(name) || name.hasPrefix("chatd-") || name == "cluster.json" {
            try FileManager.default.removeItem(at: folder.appending(path: name))
        }
        return stopped
    }

    func path(_ name: String) -> String { folder.appending(path: name).path() }

    func connection(port: Int, user: String, database: String) -> String {
        "host=127.0.0.1 port=\(port) user=\(user) dbname=\(database)"
    }
}
