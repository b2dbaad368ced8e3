public import Foundation
import Glibc
import Postgres
import ShardRouter

/// A throw-away cluster of real servers below one folder: a catalog, shards and Redis.
///
/// Everybody on this machine may connect without a password (127.0.0.1 only): it is for
/// development.
public struct DevCluster: Sendable {
    /// One server of the cluster.
    public struct Server: Sendable, Equatable {
        public var name: String
        public var port: Int
        public var isRedis: Bool
        /// The process, when it runs.
        public var pid: Int?
    }

    public let folder: URL
    public let portBase: Int
    public let redisPort: Int
    public let shardCount: Int
    let migrations: URL

    /// - Parameter shardCount: 1 … 26: `shard-a`, `shard-b` …
    public init(folder: URL, portBase: Int, redisPort: Int, shardCount: Int, migrations: URL) {
        self.folder = folder
        self.portBase = portBase
        self.redisPort = redisPort
        self.shardCount = shardCount
        self.migrations = migrations
    }

    /// The operator's connection to the catalog.
    public var catalog: String { connection(port: portBase, user: "postgres", database: "catalog") }

    /// chatd's connection to the catalog: it may read and append, and no more.
    public var chatdCatalog: String {
        connection(port: portBase, user: "chatd", database: "catalog")
    }

    public var redisURL: String { "redis://127.0.0.1:\(redisPort)" }

    public var servers: [Server] {
        let shards = (0..<shardCount).map { index in
            ("shard-\(Character(Unicode.Scalar(UInt8(97 + index))))", portBase + 1 + index, false)
        }
        return ([("catalog", portBase, false)] + shards + [("redis", redisPort, true)]).map {
            Server(name: $0.0, port: $0.1, isRedis: $0.2, pid: pid(of: $0.0, isRedis: $0.2))
        }
    }

    /// Starts what does not run, and makes the cluster ready for chatd.
    ///
    /// - Returns: the names of the servers that were started.
    public func up() async throws -> [String] {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var started: [String] = []
        for server in servers where server.pid == nil {
            if isListening(server.port) {
                throw OperationError.refused(
                    "port \(server.port) (\(server.name)) is used by another program",
                    next: "stop it, or choose others: shardctl dev up --port-base 55000 "
                        + "--redis-port 63800")
            }
            if server.isRedis {
                try await startRedis(server)
            } else {
                try await startPostgres(server)
            }
            started.append(server.name)
        }
        try await prepare()
        return started
    }

    /// Stops the servers, or those of `names`; returns the names of those that ran.
    public func down(only names: Set<String>? = nil) async throws -> [String] {
        var stopped: [String] = []
        for server in servers where names?.contains(server.name) ?? true {
            guard let pid = server.pid else { continue }
            kill(pid_t(pid), server.isRedis ? SIGTERM : SIGINT)
            let limit = ContinuousClock.now + .seconds(20)
            while isAlive(pid) {
                guard ContinuousClock.now < limit else {
                    throw OperationError.failed("\(server.name) (process \(pid)) does not end")
                }
                try await Task.sleep(for: .milliseconds(20))
            }
            stopped.append(server.name)
        }
        return stopped
    }

    private func path(_ name: String) -> String { folder.appending(path: name).path() }

    private func connection(port: Int, user: String, database: String) -> String {
        "host=127.0.0.1 port=\(port) user=\(user) dbname=\(database)"
    }

    private func startPostgres(_ server: Server) async throws {
        let binaries = try binaries()
        let path = path(server.name)
        if !FileManager.default.fileExists(atPath: "\(path)/PG_VERSION") {
            // Made beside its place and renamed, so that a half-made folder is never taken for one.
            let new = quoted(path + ".new")
            try await shell("rm -rf \(new) && mkdir -p \(new)")
            if getuid() == 0 { try await shell("chown postgres: \(new)") }
            try await asServer(
                "\(quoted(binaries + "/initdb")) -D \(new) -U postgres -A trust -E UTF8 "
                    + "--locale=C.UTF-8 >/dev/null 2>&1")
            try await shell("mv \(new) \(quoted(path))")
        }
        let settings = [
            "listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical",
            "max_replication_slots=64", "max_wal_senders=64", "max_worker_processes=64",
            "max_logical_replication_workers=32", "wal_retrieve_retry_interval=100ms",
            "max_slot_wal_keep_size=4GB", "max_connections=100", "shared_buffers=64MB",
        ].map { "-c \($0)" }.joined(separator: " ")
        do {
            try await asServer(
                "\(quoted(binaries + "/pg_ctl")) -D \(quoted(path)) -l \(quoted(path + "/server.log")) "
                    + "-w -t 60 -o \(quoted("-p \(server.port) \(settings)")) start >/dev/null")
        } catch {
            throw OperationError.failed(
                "\(server.name) does not start", next: "read \(path)/server.log")
        }
    }

    private func startRedis(_ server: Server) async throws {
        let path = path(server.name)
        try await shell(
            "mkdir -p \(quoted(path)) && redis-server --bind 127.0.0.1 --port \(server.port) "
                + "--daemonize yes --dir \(quoted(path)) --pidfile \(quoted(path + "/redis.pid")) "
                + "--logfile \(quoted(path + "/server.log")) --save '' --appendonly no >/dev/null")
    }

    /// PostgreSQL refuses root; its user must be able to enter the folder.
    private func asServer(_ command: String) async throws {
        guard getuid() == 0 else { return try await shell(command) }
        let prefix = "setpriv --reuid=postgres --regid=postgres --init-groups"
        do {
            try await shell("\(prefix) test -x \(quoted(folder.path()))")
        } catch {
            throw OperationError.refused(
                "PostgreSQL refuses root, and its user postgres cannot enter \(folder.path())",
                next: "choose another folder: shardctl dev up --dir /var/tmp/dev")
        }
        try await shell("cd / && \(prefix) \(command)")
    }

    private func binaries() throws -> String {
        let root = "/usr/lib/postgresql"
        let known =
            FileManager.default.fileExists(atPath: root)
            ? try FileManager.default.contentsOfDirectory(atPath: root) : []
        guard let newest = known.compactMap({ Int($0) }).max() else {
            throw OperationError.failed(
                "there is no PostgreSQL server on this machine", next: "scripts/bootstrap")
        }
        return "\(root)/\(newest)/bin"
    }

    /// The process in the pid file, when it lives.
    private func pid(of name: String, isRedis: Bool) -> Int? {
        let file = path(name) + (isRedis ? "/redis.pid" : "/postmaster.pid")
        guard
            let text = FileManager.default.contents(atPath: file)
                .flatMap({ String(data: $0, encoding: .utf8) }),
            let pid = text.split(separator: "\n").first.flatMap({ Int($0) }),
            isAlive(pid)
        else { return nil }
        return pid
    }

    /// A process that has ended may wait for a while until its parent takes notice.
    private func isAlive(_ pid: Int) -> Bool {
        guard kill(pid_t(pid), 0) == 0,
            let status = FileManager.default.contents(atPath: "/proc/\(pid)/stat")
        else { return false }
        return !String(decoding: status, as: UTF8.self).contains(") Z ")
    }

    private func isListening(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, length) == 0
            }
        }
    }

    /// Databases, roles, catalog, shards: whatever of it is missing.
    private func prepare() async throws {
        for server in servers where !server.isRedis {
            try await makeDatabase(server.name == "catalog" ? "catalog" : "chat", on: server)
        }
        let cluster = Cluster(
            catalog: try ConnectionSettings(catalog), migrations: migrations)
        do {
            _ = try await cluster.initialise()
        } catch let error as OperationError where error.kind == .refused {
            // There is one already: this is not the first time.
            _ = try await cluster.topology()
        }
        _ = try await cluster.migrate(isApplying: true)
        let known = try await cluster.topology().shards.filter { $0.state == .active }
        for server in servers where !server.isRedis && server.name != "catalog" {
            guard !known.contains(where: { $0.name == server.name }) else { continue }
            _ = try await ShardAdding(
                cluster: cluster, name: server.name,
                endpoint: "host=127.0.0.1 port=\(server.port) dbname=chat", weight: 1
            ).run()
        }
        for server in servers where !server.isRedis {
            try await makeLogin(on: server)
        }
    }

    private func makeDatabase(_ name: String, on server: Server) async throws {
        try await withServer(server) { connection, deadline in
            let rows = try await connection.query(
                "select 1 from pg_database where datname = $1", [name], deadline: deadline)
            if rows.isEmpty {
                try await connection.script("create database \(name)", deadline: deadline)
            }
        }
    }

    private func makeLogin(on server: Server) async throws {
        try await withServer(server) { connection, deadline in
            let rows = try await connection.query(
                "select 1 from pg_roles where rolname = 'chatd'", deadline: deadline)
            if rows.isEmpty {
                try await connection.script(
                    "create role chatd login in role chat_app", deadline: deadline)
            }
        }
    }

    private func withServer(
        _ server: Server,
        _ body: (PostgresConnection, ContinuousClock.Instant) async throws -> Void
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        let settings = try ConnectionSettings(
            self.connection(port: server.port, user: "postgres", database: "postgres"))
        let connection = try await PostgresConnection.connect(settings, deadline: deadline)
        defer { connection.close() }
        try await body(connection, deadline)
    }
}
