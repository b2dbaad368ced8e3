public import Foundation
import Glibc
import Synchronization

/// A real Redis for one test: its own folder, a free port on 127.0.0.1, nothing on disk.
///
/// Ends with its last reference, by its process id, or with the process of the tests.
public final class RedisServer: Sendable {
    public let port: Int
    public let folder: URL
    private let options: [String]
    /// Zero while no server runs.
    private let process = Mutex<pid_t>(0)

    /// Starts a server; returns when it answers.
    ///
    /// - Parameter options: further words of its command line, such as `--requirepass`.
    public static func start(_ options: [String] = []) throws -> RedisServer {
        // A port that was free may be taken before Redis gets to it.
        for _ in 0..<4 {
            let server = try RedisServer(port: reservedPort(), options: options)
            do {
                try server.start()
                return server
            } catch {
                print("\(error)")
            }
        }
        throw TestServerError(description: "redis-server does not start")
    }

    /// A server that does not run until ``start()``.
    public static func stopped(_ options: [String] = []) throws -> RedisServer {
        try RedisServer(port: reservedPort(), options: options)
    }

    private init(port: Int, options: [String]) throws {
        self.port = port
        self.options = options
        folder = FileManager.default.temporaryDirectory
            .appending(path: "redis-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit {
        kill()
        do {
            try FileManager.default.removeItem(at: folder)
        } catch {
            print("cannot remove \(folder.path()): \(error)")
        }
    }

    /// Where the server is, for a client without a password.
    public var url: String { "redis://127.0.0.1:\(port)" }

    /// Starts the server, again and on the same port after ``stop()`` or ``kill()``.
    public func start() throws {
        let words =
            [
                "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder.path(),
                "--save", "", "--appendonly", "no", "--logfile",
                folder.appending(path: "redis.log").path(),
            ] + options
        let pid = try RedisServer.spawn(words)
        process.withLock { $0 = pid }
        RedisServer.remember(pid, folder: folder.path())
        let limit = ContinuousClock.now + .seconds(10)
        // "NOAUTH" from one that wants a password.
        while try !["+PONG", "-NOAUTH"].contains(where: command("PING").hasPrefix) {
            guard waitpid(pid, nil, WNOHANG) == 0, ContinuousClock.now < limit else {
                end(SIGKILL)
                throw TestServerError(description: "redis-server did not answer on port \(port)")
            }
            usleep(2_000)
        }
    }

    /// Ends the server as an operator would.
    public func stop() { end(SIGTERM) }

    /// Ends the server as a crash would.
    public func kill() { end(SIGKILL) }

    /// The server hangs until ``resume()``: its sockets accept, nothing answers.
    public func pause() { process.withLock { _ = Glibc.kill($0, SIGSTOP) } }
    public func resume() { process.withLock { _ = Glibc.kill($0, SIGCONT) } }

    /// A further port for a server of this test, as for TLS.
    public static func freePort() throws -> Int { try reservedPort() }

    /// What the server answers to one inline command, as it stands on the wire; empty when nobody
    /// listens. Reads as long as more comes without a pause.
    public func command(_ text: String) throws -> String {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_INET, type, 0)
        guard descriptor >= 0 else { throw TestServerError(description: "no socket") }
        defer { close(descriptor) }
        var patience = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        guard RedisServer.connect(descriptor, port) else { return "" }
        // QUIT lets the server close, which says where the answer ends.
        let request = Array("\(text)\r\nQUIT\r\n".utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
        else { return "" }
        var answer: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &part, part.count, 0)
            guard count > 0 else { break }
            answer += part.prefix(count)
        }
        return String(decoding: answer, as: UTF8.self)
    }

    private func end(_ signal: Int32) {
        let pid = process.withLock { pid in
            defer { pid = 0 }
            return pid
        }
        guard pid > 0 else { return }
        // A stopped process takes no signal but SIGKILL.
        Glibc.kill(pid, SIGCONT)
        Glibc.kill(pid, signal)
        RedisServer.reap(pid)
    }
}

extension RedisServer {
    /// Ports that servers of this process have had; none gets another's, even while it is down.
    private static let reserved = Mutex<Set<Int>>([])

    /// A free port below those that the kernel gives to clients: otherwise a client of somebody
    /// else could take it while the server is down.
    static func reservedPort() throws -> Int {
        for _ in 0..<1_000 {
            let port = Int.random(in: 20_000..<32_000)
            guard isFree(port), reserved.withLock({ $0.insert(port).inserted }) else { continue }
            return port
        }
        throw TestServerError(description: "no free port from 20000 to 31999")
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        return withAddress(port) { bind(descriptor, $0, $1) == 0 }
    }

    private static func connect(_ descriptor: Int32, _ port: Int) -> Bool {
        withAddress(port) { Glibc.connect(descriptor, $0, $1) == 0 }
    }

    private static func withAddress(
        _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Bool
    ) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = UInt16(port).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// Not by Foundation's `Process`, which does not tell when a child that is killed is gone.
    static func spawn(_ words: [String]) throws -> pid_t {
        var pid = pid_t()
        var arguments = words.map { strdup($0) } + [nil]
        defer { arguments.forEach { free($0) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        let failure = posix_spawnp(&pid, words[0], &actions, nil, &arguments, environ)
        guard failure == 0 else {
            throw TestServerError(description: "cannot start \(words[0]): error \(failure)")
        }
        return pid
    }

    /// Servers of this process; those that nobody ended are ended with it.
    private static let running = Mutex<[pid_t: String]>([:])

    private static func remember(_ pid: pid_t, folder: String) {
        running.withLock { $0[pid] = folder }
        _ = endsAllAtExit
    }

    private static let endsAllAtExit: Bool = {
        atexit { RedisServer.endAll() }
        return true
    }()

    private static func reap(_ pid: pid_t) {
        while waitpid(pid, nil, 0) < 0, errno == EINTR {}
        running.withLock { $0[pid] = nil }
    }

    private static func endAll() {
        for (pid, folder) in running.withLock({ $0 }) {
            Glibc.kill(pid, SIGKILL)
            reap(pid)
            do {
                try FileManager.default.removeItem(atPath: folder)
            } catch {
                print("cannot remove \(folder): \(error)")
            }
        }
    }
}
