public import Foundation
import Glibc
import Synchronization

/// Why a test server did not come up.
public struct TestServerError: Error, CustomStringConvertible {
    public var description: String

    public init(description: String) {
        self.description = description
    }
}

/// A real PostgreSQL server for one suite: its own folder, a free port on 127.0.0.1, no fsync.
///
/// Stopped when the last reference goes, by its process id.
public final class PostgresServer: Sendable {
    public let port: Int
    public let folder: URL
    private let settings: [String: String]
    /// What the folder is on, where that is a disk of its own.
    private let disk: TemporaryDisk?
    private let process = Mutex<Int32>(0)

    /// Starts a server; returns when it answers.
    public static func start(settings: [String: String] = [:]) throws -> PostgresServer {
        let folder = temporaryFolder.appending(path: "pg-\(UUID().uuidString.prefix(8))")
        try shell("cp -a '\(try template())' '\(folder.path())'")
        let server = PostgresServer(port: try freePort(), folder: folder, settings: settings)
        try server.start()
        return server
    }

    /// Starts a server on a disk of its own.
    public static func start(on disk: TemporaryDisk) throws -> PostgresServer {
        let folder = disk.folder.appending(path: "data")
        try shell("cp -a '\(try template())' '\(folder.path())'")
        let server = PostgresServer(
            port: try freePort(), folder: folder, settings: [:], disk: disk)
        try server.start()
        return server
    }

    /// Starts a standby that has every commit of `primary` before it is answered there.
    public static func start(asStandbyOf primary: PostgresServer) throws -> PostgresServer {
        let folder = temporaryFolder.appending(path: "pg-\(UUID().uuidString.prefix(8))")
        let path = folder.path()
        try shell(
            "mkdir '\(path)' && chmod 700 '\(path)'"
                + (getuid() == 0 ? " && chown postgres: '\(path)'" : ""))
        try shell(
            "\(asPostgres) '\(try binaries())/pg_basebackup' -D '\(path)' -R -c fast "
                + "-d 'host=127.0.0.1 port=\(primary.port) user=postgres' >/dev/null")
        let server = PostgresServer(port: try freePort(), folder: folder, settings: [:])
        try server.start()
        try shell(
            "'\(try binaries())/psql' -q -d '\(primary.connectionString())' "
                + "-c \"alter system set synchronous_standby_names = '*'\" "
                + "-c 'select pg_reload_conf()' >/dev/null")
        return server
    }

    private init(
        port: Int, folder: URL, settings: [String: String], disk: TemporaryDisk? = nil
    ) {
        self.port = port
        self.folder = folder
        self.settings = settings
        self.disk = disk
    }

    deinit {
        let pid = process.withLock { $0 }
        if pid > 0 {
            thaw()
            Glibc.kill(pid, SIGQUIT)
            PostgresServer.waitUntilGone(pid)
            PostgresServer.running.withLock { $0[pid] = nil }
        }
        do {
            try FileManager.default.removeItem(at: folder)
        } catch {
            print("cannot remove \(folder.path()): \(error)")
        }
    }

    /// A libpq connection string of the superuser.
    public func connectionString(database: String = "postgres") -> String {
        "host=127.0.0.1 port=\(port) user=postgres dbname=\(database)"
    }

    /// Starts the server again after ``stop()`` or ``kill()``.
    public func start() throws {
        var options = [
            "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off",
            "wal_level=logical", "max_connections=200", "shared_buffers=32MB",
            "wal_retrieve_retry_interval=100ms", "logging_collector=off",
            "max_slot_wal_keep_size=4GB", "max_replication_slots=32", "max_wal_senders=32",
            "max_worker_processes=32", "max_logical_replication_workers=16",
            "dynamic_shared_memory_type=mmap",  // Below the folder, so that a crash leaves nothing.
        ]
        options += settings.map { "\($0.key)=\($0.value)" }
        let flags = options.map { "-c '\($0)'" }.joined(separator: " ")
        let log = folder.appending(path: "server.log").path()
        try shell(
            "\(asPostgres) '\(try binaries())/pg_ctl' -D '\(folder.path())' -l '\(log)' -w -t 30 "
                + "-o \"-p \(port) \(flags)\" start >/dev/null")
        let file = folder.appending(path: "postmaster.pid")
        let first = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")[0]
        guard let pid = Int32(first) else {
            throw TestServerError(description: "\(file.path()) holds no process id")
        }
        process.withLock { $0 = pid }
        PostgresServer.remember(pid, folder: folder.path())
    }

    /// Ends the server as an operator would, cutting its connections.
    public func stop() { end(SIGINT) }

    /// Ends the server as a crash would.
    public func kill() { end(SIGQUIT) }

    /// Whether the server runs; one whose disk is full may have ended by itself.
    public var isRunning: Bool { process.withLock { $0 > 0 && PostgresServer.isAlive($0) } }

    /// Ends the server as the kernel does when memory is short: its main process is killed, the
    /// others notice. Returns when all are gone.
    public func crash() throws {
        pause()  // Nothing is born from here on.
        let children = children
        end(SIGKILL)
        children.forEach { PostgresServer.waitUntilGone($0) }
        // A dead process that nobody has taken notice of still counts as one that runs.
        try FileManager.default.removeItem(at: folder.appending(path: "postmaster.pid"))
    }

    /// All processes of the server stand still until ``thaw()``: what is open does not answer, what
    /// is new is not greeted.
    public func freeze() { signalAll(SIGSTOP) }
    public func thaw() { signalAll(SIGCONT) }

    /// Makes a standby the primary.
    public func promote() throws {
        try shell(
            "\(asPostgres) '\(try binaries())/pg_ctl' -D '\(folder.path())' -w -t 30 promote "
                + ">/dev/null")
    }

    private func signalAll(_ signal: Int32) {
        self.signal(signal)
        children.forEach { _ = Glibc.kill($0, signal) }
    }

    /// The processes of the server beside its main one.
    private var children: [Int32] {
        let pid = process.withLock { $0 }
        guard pid > 0 else { return [] }
        let path = "/proc/\(pid)/task/\(pid)/children"
        let text = FileManager.default.contents(atPath: path) ?? Data()
        return String(decoding: text, as: UTF8.self).split(separator: " ").compactMap { Int32($0) }
    }

    /// The server hangs until ``resume()``: its sockets accept, nothing answers. New connections
    /// hang; connections that are open go on.
    public func pause() { signal(SIGSTOP) }
    public func resume() { signal(SIGCONT) }

    private func end(_ signal: Int32) {
        let pid = process.withLock { pid in
            defer { pid = 0 }
            return pid
        }
        guard pid > 0 else { return }
        Glibc.kill(pid, signal)
        PostgresServer.waitUntilGone(pid)
        PostgresServer.running.withLock { $0[pid] = nil }
    }

    private func signal(_ signal: Int32) {
        process.withLock { _ = Glibc.kill($0, signal) }
    }

    private static func waitUntilGone(_ pid: Int32) {
        let limit = ContinuousClock.now + .seconds(20)
        while isAlive(pid), ContinuousClock.now < limit { usleep(5_000) }
    }

    /// A process that has ended may wait for a while until its parent takes notice.
    private static func isAlive(_ pid: Int32) -> Bool {
        guard Glibc.kill(pid, 0) == 0 else { return false }
        guard let status = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else {
            return false
        }
        return !String(decoding: status, as: UTF8.self).contains(") Z ")
    }

    /// Servers of this process; those that nobody ended are ended with it.
    private static let running = Mutex<[Int32: String]>([:])

    private static func remember(_ pid: Int32, folder: String) {
        let isFirst = running.withLock { running in
            defer { running[pid] = folder }
            return running.isEmpty
        }
        if isFirst { atexit { PostgresServer.endAll() } }
    }

    private static func endAll() {
        for (pid, folder) in running.withLock({ $0 }) {
            Glibc.kill(pid, SIGCONT)
            if Glibc.kill(pid, SIGQUIT) == 0 { waitUntilGone(pid) }
            guard FileManager.default.fileExists(atPath: folder) else { continue }
            do {
                try FileManager.default.removeItem(atPath: folder)
            } catch {
                print("cannot remove \(folder): \(error)")
            }
        }
    }

    /// An initialised data folder, made once for this process and copied for each server.
    private static let templateFolder = Mutex<String?>(nil)

    private static func template() throws -> String {
        try templateFolder.withLock { known in
            if let known { return known }
            let path = temporaryFolder.appending(path: "pg-template-\(getpid())").path()
            try shell("rm -rf '\(path)' && mkdir -p '\(path)'")
            if getuid() == 0 { try shell("chown postgres: '\(path)'") }
            try shell(
                "\(asPostgres) '\(try binaries())/initdb' -D '\(path)' -U postgres -A trust "
                    + "-E UTF8 --locale=C.UTF-8 --no-sync --wal-segsize=1 >/dev/null")
            known = path
            atexit { PostgresServer.removeTemplate() }
            return path
        }
    }
}

extension PostgresServer {
    fileprivate static func removeTemplate() {
        guard let path = templateFolder.withLock({ $0 }) else { return }
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            print("cannot remove \(path): \(error)")
        }
    }
}

let asPostgres =
    getuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --init-groups" : ""

/// PostgreSQL refuses root, so everything that runs it changes to the user `postgres` then.
private func binaries() throws -> String {
    let root = "/usr/lib/postgresql"
    let versions = try FileManager.default.contentsOfDirectory(atPath: root)
    guard let newest = versions.compactMap({ Int($0) }).max() else {
        throw TestServerError(description: "no PostgreSQL server below \(root)")
    }
    return "\(root)/\(newest)/bin"
}

/// A port that nobody listens on now.
public func freePort() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
        }
    }
    guard isBound else { throw TestServerError(description: "no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
}
