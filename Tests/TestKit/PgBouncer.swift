import Foundation
import Glibc

/// A real PgBouncer in front of one PostgreSQL server, for the user `postgres` and all databases.
///
/// Ends with its last reference, by its process id.
public final class PgBouncer: Sendable {
    public let port: Int
    private let folder: URL
    private let process: pid_t

    /// Starts one; it listens when this returns.
    ///
    /// - Parameters:
    ///   - mode: `session`, `transaction` or `statement`.
    ///   - settings: further ones of its configuration.
    public init(
        to server: PostgresServer, mode: String, settings: [String: String] = [:]
    ) throws {
        port = try freePort()
        folder = temporaryFolder.appending(path: "pgbouncer-\(UUID().uuidString.prefix(8))")
        let path = folder.path()
        let all =
            [
                "listen_addr": "127.0.0.1", "listen_port": "\(port)", "unix_socket_dir": "",
                "auth_type": "trust", "auth_file": "\(path)/users", "pool_mode": mode,
                "pidfile": "\(path)/pid", "logfile": "\(path)/log",
            ].merging(settings) { $1 }
        let text =
            "[databases]\n* = host=127.0.0.1 port=\(server.port)\n[pgbouncer]\n"
            + all.map { "\($0.key) = \($0.value)\n" }.joined()
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try text.write(to: folder.appending(path: "ini"), atomically: true, encoding: .utf8)
        try "\"postgres\" \"\"\n".write(
            to: folder.appending(path: "users"), atomically: true, encoding: .utf8)
        // It refuses root, as PostgreSQL does. Its daemon writes its number and listens a bit later.
        try shell(
            (getuid() == 0 ? "chown -R postgres: '\(path)' && " : "")
                + "\(asPostgres) /usr/sbin/pgbouncer -q -d '\(path)/ini' >/dev/null 2>&1 && "
                + "for n in $(seq 200); do "
                + "pg_isready -q -h 127.0.0.1 -p \(port) -U postgres -d postgres && exit 0; "
                + "sleep 0.02; done; exit 1")
        let pid = try String(contentsOf: folder.appending(path: "pid"), encoding: .utf8)
        guard let number = pid_t(pid.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw TestServerError(description: "pgbouncer left no process id in \(path)")
        }
        process = number
    }

    deinit {
        kill(process, SIGQUIT)
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
}
