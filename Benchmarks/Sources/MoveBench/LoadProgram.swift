import BenchKit
import Foundation
import Logging
import Postgres
import ShardRouter
import Synchronization

/// What the process with the callers is told at its start.
struct LoadSettings: Codable, Sendable {
    /// As `chatd` reaches it.
    var catalog: String
    /// The ports of the chat servers; with none, two routers in this process take their place.
    var servers: [Int]
    var rooms: [String]
    /// Messages of all rooms together.
    var perSecond: Double
    /// For each move a room in its slots that is written in a loop, and rooms that are read.
    var probes: [String]
    var readRooms: [[String]]
    /// Where the ledger goes.
    var output: String

    static func read(_ path: String) throws -> LoadSettings {
        try JSONDecoder().decode(
            LoadSettings.self, from: Data(contentsOf: URL(filePath: path)))
    }
}

/// The callers, in a process of their own: clients of the chat servers, and beside them one caller
/// of the router that writes a probe's room and one that reads, each without a pause.
///
/// By its input: a number names the move whose rooms are probed; the end of the input ends it.
struct LoadProgram: Sendable {
    let settings: LoadSettings

    private final class Ledger: Sendable {
        struct Contents {
            var list: [Acknowledgement] = []
            var errors: [String] = []
            var move = 0
            var isOver = false
        }

        private let contents = Mutex(Contents())

        var move: Int { contents.withLock(\.move) }
        var isOver: Bool { contents.withLock(\.isOver) }
        var value: Contents { contents.withLock(\.self) }

        func add(_ one: Acknowledgement) { contents.withLock { $0.list.append(one) } }
        func add(error: String) { contents.withLock { $0.errors.append(error) } }

        /// Follows the input until it ends.
        func listen() {
            while let line = readLine() {
                contents.withLock { $0.move = Int(line) ?? $0.move }
            }
            contents.withLock { $0.isOver = true }
        }
    }

    func run() async throws {
        let ledger = Ledger()
        Thread.detachNewThread { ledger.listen() }
        var routers: [ShardRouter] = []
        for _ in 0..<(settings.servers.isEmpty ? 3 : 1) { routers.append(try await router()) }
        let own = routers
        try await withThrowingTaskGroup(of: Void.self) { services in
            for router in own { services.addTask { try await router.run() } }
            try await callers(own, ledger)
            services.cancelAll()
            try await services.waitForAll()
        }
        let contents = ledger.value
        try Acknowledgement.write(contents.list, to: "\(settings.output)/ledger")
        try contents.errors.joined(separator: "\n").write(
            toFile: "\(settings.output)/errors", atomically: true, encoding: .utf8)
        say("done")
    }

    /// Not by `print`: flushing all streams would wait for the thread that reads the input.
    private func say(_ word: String) {
        // When the other process has gone there is nobody to tell.
        try? FileHandle.standardOutput.write(contentsOf: Data("\(word)\n".utf8))
    }

    private func router() async throws -> ShardRouter {
        var logger = Logger(label: "load")
        logger.logLevel = .critical
        return try await ShardRouter.start(
            RouterConfiguration(catalog: ConnectionSettings(settings.catalog)), logger: logger)
    }

    private func callers(_ routers: [ShardRouter], _ ledger: Ledger) async throws {
        var sockets: [ChatSocket] = []
        for (place, room) in settings.rooms.enumerated() where !settings.servers.isEmpty {
            let port = settings.servers[place % settings.servers.count]
            // A user's rate is bounded, so that each room has a caller of its own.
            sockets.append(
                try await ChatSocket.open(room: room, user: "caller-\(place)", port: port))
        }
        say("ready")
        let (open, start) = (sockets, monotonic())
        try await withThrowingTaskGroup(of: Void.self) { group in
            for place in settings.rooms.indices {
                group.addTask {
                    let post = post(place, open, routers)
                    try await write(place, since: start, ledger, post)
                }
            }
            group.addTask { try await probe(routers[0], ledger) }
            group.addTask { try await read(routers[0], ledger) }
            group.addTask {
                while !ledger.isOver {
                    try await Task.sleep(for: .seconds(2))
                    for socket in open { socket.beat() }
                }
            }
            try await group.waitForAll()
        }
    }

    /// How the caller of a room stores a message: answers its `seq`.
    private func post(
        _ place: Int, _ sockets: [ChatSocket], _ routers: [ShardRouter]
    ) -> @Sendable (Message) async throws -> Int64 {
        if !sockets.isEmpty {
            let sentAt = Date().ISO8601Format(.init(includingFractionalSeconds: true))
            return { try await sockets[place].send(id: $0.id, text: $0.text, sentAt: sentAt) }
        }
        let router = routers[1 + place % 2]
        return { try await router.store($0, patience: .seconds(10)).seq }
    }

    /// One room's caller: a message is due at every beat, and the next one waits for its answer.
    private func write(
        _ place: Int, since start: Int64, _ ledger: Ledger,
        _ post: @Sendable (Message) async throws -> Int64
    ) async throws {
        let interval = Double(settings.rooms.count) / settings.perSecond * 1e9
        let first = Double(start) + interval * Double(place) / Double(settings.rooms.count)
        for number in 0... {
            let due = Int64(first + Double(number) * interval)
            let wait = due - monotonic()
            if wait > 0 { try await Task.sleep(for: .nanoseconds(wait)) }
            if ledger.isOver { return }
            let message = message(RoomID(settings.rooms[place]))
            while true {
                do {
                    let seq = try await post(message)
                    ledger.add(
                        Acknowledgement(.load, room: place, seq: seq, id: message.id, due: due))
                    break
                } catch {
                    ledger.add(error: "\(settings.rooms[place]): \(error)")
                    if ledger.isOver { return }
                    try await Task.sleep(for: .milliseconds(100))
                }
            }
        }
    }

    private func probe(_ router: ShardRouter, _ ledger: Ledger) async throws {
        while !ledger.isOver {
            let (move, due) = (ledger.move, monotonic())
            let message = message(RoomID(settings.probes[move]))
            do {
                let receipt = try await router.store(message, patience: .seconds(10))
                ledger.add(
                    Acknowledgement(
                        .probe, room: move, seq: receipt.seq, id: message.id, due: due,
                        shard: receipt.shard.number))
            } catch {
                ledger.add(error: "probe \(move): \(error)")
            }
        }
    }

    private func read(_ router: ShardRouter, _ ledger: Ledger) async throws {
        while !ledger.isOver {
            let (move, due) = (ledger.move, monotonic())
            guard let room = settings.readRooms[move].randomElement() else { return }
            do {
                let page = try await router.history(
                    of: RoomID(room), limit: 50, patience: .seconds(10))
                guard !page.messages.isEmpty else {
                    throw BenchError(description: "a page of \(room) is empty")
                }
                ledger.add(
                    Acknowledgement(.read, room: move, seq: page.head, id: nil, due: due))
            } catch {
                ledger.add(error: "reader \(move): \(error)")
            }
            // Readers do not take the cores from everybody else.
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private func message(_ room: RoomID) -> Message {
        Message(
            id: UUID(), room: room, author: "caller", sentAt: .now, receivedAt: .now,
            text: Self.text)
    }

    private static let text = String(repeating: "x", count: 118)
}
