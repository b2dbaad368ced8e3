import BenchKit
import Foundation
import Glibc

/// How much is measured, and how often.
struct Extent: Sendable {
    /// Turns of ours and the rival's, and of everything whose figure is a median.
    var rounds: Int
    /// Of each measured run, after ``warmSeconds`` of the same load.
    var seconds: Double
    var warmSeconds = 1.0
    /// Clients that are there at once, where that is the question.
    var crowd = 10_000
    /// How long a crowd's heartbeats are measured.
    var beatSeconds: Double

    static let full = Extent(rounds: 3, seconds: 4, beatSeconds: 20)
    static let quick = Extent(rounds: 1, seconds: 2, beatSeconds: 12)
}

/// What the phases share.
struct ChatStage {
    let extent: Extent
    /// The catalog is on the first one, a shard on each.
    let servers: [BenchServer]
    let folder: String
    let repository: String
    let chatd: String
    let textBytes: Int
    /// The cores of what is measured and of everything else; nil when there is only one.
    let cores: (server: Int, load: Int)?
    /// What must not have happened.
    let violations = Box<[String]>([])
    private let launches = Box(0)

    static func make(_ options: Options) throws -> ChatStage {
        let servers = try ["server-1", "server-2"].map {
            try BenchServer.start(
                $0, below: options.folder, settings: ["autovacuum_naptime=10s"])
        }
        let chatd = options.chatd ?? programs.appending(path: "chatd").path()
        guard FileManager.default.isExecutableFile(atPath: chatd) else {
            throw BenchError(description: "\(chatd) is no program")
        }
        return ChatStage(
            extent: options.extent, servers: servers, folder: options.folder,
            repository: options.repository, chatd: chatd, textBytes: options.textBytes,
            cores: try twoCores())
    }

    /// Where this program is, and what was built beside it.
    static var programs: URL {
        URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    }

    /// The first two that this process may use.
    private static func twoCores() throws -> (server: Int, load: Int)? {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let name = "Cpus_allowed_list:"
        // Such as `0-3,8`.
        let list = status.split(separator: "\n").first { $0.hasPrefix(name) } ?? ""
        let cores = list.dropFirst(name.count).split(separator: ",").flatMap { part in
            let ends = part.split(separator: "-").compactMap {
                Int($0.trimmingCharacters(in: .whitespaces))
            }
            return ends.isEmpty ? [] : Array(ends[0]...ends[ends.count - 1])
        }
        guard cores.count > 1 else {
            print("only one core: nothing is pinned, and figures of the load are part of ours")
            return nil
        }
        return (cores[0], cores[1])
    }

    /// Keeps the databases on the core of the load, or lets them go where they like.
    func pinDatabases(_ isPinned: Bool) throws {
        guard let cores else { return }
        let list = isPinned ? "\(cores.load)" : "\(cores.server),\(cores.load)"
        for server in servers {
            let root = server.process
            let text = try String(
                contentsOfFile: "/proc/\(root)/task/\(root)/children", encoding: .utf8)
            // One that has ended meanwhile needs no core. New ones follow the first one.
            for process in ["\(root)"] + text.split(separator: " ").map(String.init) {
                try shell("taskset -a -c -p \(list) \(process) >/dev/null 2>&1 || true")
            }
        }
    }

    /// A new number for each thing that is started.
    func nextLaunch() -> Int {
        launches.value += 1
        return launches.value
    }

    /// Starts a server with a new cluster of two shards.
    func chatServer(isPinned: Bool = true) async throws -> ChatSubject {
        let number = nextLaunch()
        let cluster = try await BenchCluster.make(
            "chat_\(number)", on: servers, shards: 2, repository: repository)
        let port = try freePort()
        let home = "\(folder)/chatd-\(number)"
        let daemon = try Daemon(
            chatd, [],
            [
                "SHARD_CATALOG": cluster.catalog.server.place(
                    cluster.catalog.database, user: "chatd"),
                "CHATD_BIND": "127.0.0.1:\(port)", "CHATD_SERVER_NAME": "chatd",
                "CHATD_TOPOLOGY_FILE": "\(home)/topology", "CHATD_SPOOL_DIR": "\(home)/spool",
                "CHATD_AUTH": "open", "CHATD_LOG_LEVEL": "warning",
            ], home: "chatd-\(number)", below: folder, core: isPinned ? cores?.server : nil)
        let subject = ChatSubject(name: "chatd", port: port, daemon: daemon)
        try await subject.ready("/readyz")
        return subject
    }

    /// Starts the rival; nil when it is not installed.
    func rivalServer() async throws -> ChatSubject? {
        let python = "\(repository)/.venv/bin/python"
        guard FileManager.default.isExecutableFile(atPath: python),
            (try? shell("'\(python)' -c 'import websockets.asyncio.server'")) != nil
        else { return nil }
        let port = try freePort()
        let daemon = try Daemon(
            python, ["\(repository)/Benchmarks/broadcast_rival.py", "\(port)"],
            home: "rival-\(nextLaunch())", below: folder, core: cores?.server)
        let subject = ChatSubject(
            name: "websockets", port: port, daemon: daemon, isOurs: false)
        try await subject.ready("/")
        return subject
    }

    /// Starts clients of `subject`, on the core of the load.
    func load(_ subject: ChatSubject, clients: Int, isPinned: Bool = true) throws -> ChatClients {
        let clients = try ChatClients(
            port: subject.port, count: clients, core: isPinned ? cores?.load : nil)
        try clients.say("watch server \(subject.daemon.processID)")
        let databases = servers.map { "\($0.process)" }.joined(separator: " ")
        try clients.say("watch postgres \(databases)")
        try clients.say("text \(textBytes)")
        return clients
    }

    func check(_ isRight: Bool, _ violation: @autoclosure () -> String) {
        guard !isRight else { return }
        violations.value.append(violation())
        print("  WRONG: \(violation())")
        fflush(nil)
    }
}
