import Foundation
import Glibc

/// Why a benchmark cannot go on.
package struct BenchError: Error, CustomStringConvertible {
    package var description: String

    package init(description: String) {
        self.description = description
    }
}

/// A real PostgreSQL server with durable commits, below the folder that the script removes.
///
/// It is not stopped here: `scripts/bench` stops whatever runs below its folder, however the
/// program ended.
package struct BenchServer: Sendable {
    package let port: Int
    package let folder: String
    package let process: Int32

    package init(port: Int, folder: String, process: Int32) {
        (self.port, self.folder, self.process) = (port, folder, process)
    }

    private static let settings = [
        "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=on",
        "synchronous_commit=on", "wal_level=logical", "shared_buffers=256MB",
        "max_connections=500", "logging_collector=off",
        // No checkpoint in the middle of one run and not of another.
        "checkpoint_timeout=1h", "max_wal_size=16GB",
    ]

    /// Makes and starts a server; returns when it answers.
    ///
    /// - Parameter more: settings beside the usual ones, as `name=value`.
    package static func start(
        _ name: String, below folder: String, settings more: [String] = []
    ) throws -> BenchServer {
        let data = "\(folder)/\(name)"
        let port = try freePort()
        let bin = try binaries()
        if getuid() == 0 { try shell("mkdir -p '\(data)' && chown postgres: '\(data)'") }
        try shell(
            "\(asPostgres) '\(bin)/initdb' -D '\(data)' -U postgres -A trust -E UTF8 "
                + "--locale=C.UTF-8 >/dev/null")
        let flags = (settings + more).map { "-c \($0)" }.joined(separator: " ")
        try shell(
            "\(asPostgres) '\(bin)/pg_ctl' -D '\(data)' -l '\(data)/server.log' -w -t 60 "
                + "-o '-p \(port) \(flags)' start >/dev/null")
        let text = try String(contentsOfFile: "\(data)/postmaster.pid", encoding: .utf8)
        guard let process = Int32(text.split(separator: "\n")[0]) else {
            throw BenchError(description: "\(data)/postmaster.pid holds no process id")
        }
        return BenchServer(port: port, folder: data, process: process)
    }

    /// A libpq connection string.
    package func place(_ database: String, user: String = "postgres") -> String {
        "host=127.0.0.1 port=\(port) user=\(user) dbname=\(database)"
    }

    /// What the server's processes have used so far, those that have ended included.
    package var cpuSeconds: Double {
        guard let root = ProcessTimes(process) else { return 0 }
        let children = ProcessTimes.children(of: process).map(\.own).reduce(0, +)
        return root.own + root.ofReaped + children
    }
}

/// The times of a process by `/proc`.
private struct ProcessTimes {
    /// In seconds, user and system.
    var own: Double
    var ofReaped: Double
    var parent: Int32

    init?(_ process: Int32) {
        guard let data = FileManager.default.contents(atPath: "/proc/\(process)/stat"),
            let text = Optional(String(decoding: data, as: UTF8.self)),
            let name = text.lastIndex(of: ")")
        else { return nil }
        let words = text[name...].split(separator: " ")
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        let times = words[12...15].compactMap { Double($0) }
        guard times.count == 4, let parent = Int32(words[2]) else { return nil }
        own = (times[0] + times[1]) / ticks
        ofReaped = (times[2] + times[3]) / ticks
        self.parent = parent
    }

    static func children(of process: Int32) -> [ProcessTimes] {
        let path = "/proc/\(process)/task/\(process)/children"
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: " ")
            .compactMap { Int32($0).flatMap(ProcessTimes.init) }
    }
}

private let asPostgres =
    getuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --init-groups" : ""

/// Where the programs of the distribution's newest PostgreSQL are.
package func binaries() throws -> String {
    let root = "/usr/lib/postgresql"
    let versions = try FileManager.default.contentsOfDirectory(atPath: root)
    guard let newest = versions.compactMap({ Int($0) }).max() else {
        throw BenchError(description: "no PostgreSQL server below \(root)")
    }
    return "\(root)/\(newest)/bin"
}

/// Runs a shell command to its end and returns what it printed.
@discardableResult
package func shell(_ command: String) throws -> String {
    fflush(nil)
    guard let pipe = popen("cd / && \(command)", "r") else {
        throw BenchError(description: "cannot start a shell")
    }
    var output: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = fread(&part, 1, part.count, pipe)
        guard count > 0 else { break }
        output += part.prefix(count)
    }
    let status = pclose(pipe)
    guard status == 0 else {
        throw BenchError(description: "wait status \(status) of: \(command)")
    }
    return String(decoding: output, as: UTF8.self)
}

/// A port that nobody listens on now.
package func freePort() throws -> Int {
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
    guard isBound else { throw BenchError(description: "no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
}
