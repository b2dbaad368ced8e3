import Foundation
import Glibc

extension DevCluster {
    private static let settings = [
        "listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical",
        "max_replication_slots=64", "max_wal_senders=64", "max_worker_processes=64",
        "max_logical_replication_workers=32", "wal_retrieve_retry_interval=100ms",
        "max_slot_wal_keep_size=4GB", "max_connections=100", "shared_buffers=64MB",
    ]

    /// PostgreSQL refuses root and then runs as its own user, who must be able to enter the folder.
    private static let asServer =
        getuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --init-groups " : ""

    /// The folder, made if it is missing.
    ///
    /// Where PostgreSQL's user cannot enter (below `/root`, say) the folder becomes a link to a new
    /// one in `/var/tmp`.
    func enterableFolder() async throws -> URL {
        let isNew = !FileManager.default.fileExists(atPath: folder.path())
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        if try await canServerEnter(folder) { return folder }
        guard isNew else {
            throw OperationError.refused(
                "PostgreSQL refuses root, and its user postgres cannot enter \(folder.path())",
                next: "remove that folder if it is empty, or: shardctl dev up --dir /var/tmp/dev")
        }
        let pattern = "/var/tmp/shardctl-dev-" + String(repeating: "X", count: 6)
        var template = Array(pattern.utf8CString)
        guard mkdtemp(&template) != nil, chmod(template, 0o755) == 0 else {
            throw OperationError.failed(
                "no folder can be made in /var/tmp: \(String(cString: strerror(errno)))",
                next: "shardctl dev up --dir DIR")
        }
        let other = URL(
            filePath: template.withUnsafeBufferPointer {
                String(decoding: $0.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
            })
        try FileManager.default.removeItem(at: folder)
        try FileManager.default.createSymbolicLink(at: folder, withDestinationURL: other)
        return other
    }

    private func canServerEnter(_ folder: URL) async throws -> Bool {
        guard getuid() == 0 else { return true }
        guard getpwnam("postgres") != nil else {
            throw OperationError.failed(
                "there is no user 'postgres' to run the servers as", next: "scripts/bootstrap")
        }
        return await shellStatus(Self.asServer + "test -x \(quoted(folder.path()))") == 0
    }

    /// Makes the server's data if there is none, and starts it; returns when it answers.
    func startPostgres(_ server: Server) async throws {
        let binaries = try Self.binaries()
        if !FileManager.default.fileExists(atPath: "\(server.folder)/PG_VERSION") {
            try await makeData(server, binaries)
        }
        try await removeStaleProcessID(server)
        let log = server.folder + "/server.log"
        let flags = Self.settings.map { "-c \($0)" }.joined(separator: " ")
        let status = await shellStatus(
            "cd / && \(Self.asServer)\(quoted(binaries + "/pg_ctl")) -D \(quoted(server.folder)) "
                + "-l \(quoted(log)) -w -t 60 -o \(quoted("-p \(server.port) \(flags)")) "
                + "start >/dev/null 2>&1")
        guard status == 0 else {
            let end = ServerProcess.tail(log)
            if end.contains("Address already in use") {
                throw OperationError.failed(
                    "\(server.name) does not start: another program has taken port \(server.port)",
                    next: "try again when it is free; a new cluster takes --port-base")
            }
            throw OperationError.failed(
                "\(server.name) does not start:\(end)", next: "read \(log)")
        }
    }

    /// PostgreSQL refuses to start when the number in its pid file is taken, be it by a stranger.
    private func removeStaleProcessID(_ server: Server) async throws {
        let file = server.folder + "/postmaster.pid"
        guard FileManager.default.fileExists(atPath: file) else { return }
        let limit = ContinuousClock.now + .seconds(5)
        while ServerProcess.isInUse(server.folder) {
            guard ContinuousClock.now < limit else { return }  // PostgreSQL decides by itself.
            try await Task.sleep(for: .milliseconds(50))
        }
        try FileManager.default.removeItem(atPath: file)
    }

    /// Made beside its place and renamed: a half-made folder is never taken for a whole one.
    private func makeData(_ server: Server, _ binaries: String) async throws {
        let new = quoted(server.folder + ".new")
        let log = server.folder + ".initdb.log"
        let owner = getuid() == 0 ? "chown postgres: \(new) && " : ""
        let status = await shellStatus(
            "cd / && rm -rf \(new) && mkdir -p \(new) && \(owner)"
                + "\(Self.asServer)\(quoted(binaries + "/initdb")) -D \(new) -U postgres -A trust "
                + "-E UTF8 --locale=C.UTF-8 >\(quoted(log)) 2>&1 "
                + "&& mv -T \(new) \(quoted(server.folder)) && rm \(quoted(log))")
        guard status == 0 else {
            throw OperationError.failed(
                "the data of \(server.name) cannot be made:\(ServerProcess.tail(log))",
                next: "read \(log)")
        }
    }

    /// Starts Redis; returns when it answers. It keeps nothing: it only passes messages on.
    func startRedis(_ server: Server) async throws {
        let log = server.folder + "/server.log"
        let status = await shellStatus(
            "mkdir -p \(quoted(server.folder)) && command -v redis-server >/dev/null || exit 127; "
                + "redis-server --bind 127.0.0.1 --port \(server.port) --daemonize yes "
                + "--dir \(quoted(server.folder)) "
                + "--pidfile \(quoted(server.folder + "/redis.pid")) --logfile \(quoted(log)) "
                + "--save '' --appendonly no >/dev/null 2>&1")
        guard status != 127 else {
            throw OperationError.failed(
                "there is no redis-server on this machine", next: "scripts/bootstrap")
        }
        let limit = ContinuousClock.now + .seconds(20)
        while true {
            let isUp = servers.contains { $0.name == server.name && $0.pid != nil }
            if status == 0, isUp, ServerProcess.isListening(server.port) { return }
            guard status == 0, ContinuousClock.now < limit else {
                throw OperationError.failed(
                    "redis does not start:\(ServerProcess.tail(log))", next: "read \(log)")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Where `initdb` and `pg_ctl` are: the newest version of the distribution, else what
    /// `pg_config` names, else what PATH has.
    private static func binaries() throws -> String {
        let manager = FileManager.default
        let root = "/usr/lib/postgresql"
        let versions =
            manager.fileExists(atPath: root)
            ? try manager.contentsOfDirectory(atPath: root).compactMap { Int($0) } : []
        let newest = versions.sorted(by: >).map { "\(root)/\($0)/bin" }
        let search = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        let known = newest + [configuredFolder()].compactMap { $0 } + search.map(String.init)
        guard
            let folder = known.first(where: {
                manager.isExecutableFile(atPath: "\($0)/initdb")
                    && manager.isExecutableFile(atPath: "\($0)/pg_ctl")
            })
        else {
            throw OperationError.failed(
                "there is no PostgreSQL server on this machine", next: "scripts/bootstrap")
        }
        return folder
    }

    private static func configuredFolder() -> String? {
        guard let pipe = popen("pg_config --bindir 2>/dev/null", "r") else { return nil }
        defer { pclose(pipe) }
        var line = [CChar](repeating: 0, count: 4_096)
        guard let text = fgets(&line, Int32(line.count), pipe) else { return nil }
        return String(cString: text).trimmingCharacters(in: .newlines)
    }
}
