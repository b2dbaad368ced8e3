import FoundationEssentials
import Logging
import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

/// Callers that store messages, one room each, and repeat what was not stored with the same id, as
/// clients do. What was acknowledged is held against the shards afterwards.
final class Traffic: Sendable {
    private struct Ledger {
        var seqs: [RoomID: [UUID: Int64]] = [:]
        var given: [RoomID: [UUID]] = [:]
        var stored: [ShardID: Int] = [:]
        var failures: [ShardID: [WriteError]] = [:]
    }

    let router: ShardRouter
    private let ledger = Mutex(Ledger())
    private let isOver = Atomic<Bool>(false)
    /// How long one attempt of a caller may take.
    private static let patience = Duration.seconds(1)
    /// How long anything is waited for.
    static let limit = Duration.seconds(60)

    /// How long a caller rests after each message.
    private let rest: Duration

    private init(_ router: ShardRouter, rest: Duration) {
        self.router = router
        self.rest = rest
    }

    /// Starts a router on `cluster`, lets callers write through it while `body` runs, and checks
    /// what the shards hold afterwards.
    ///
    /// - Parameters:
    ///   - roomsPerShard: rooms, and so callers, on each shard that owns something.
    ///   - rest: how long a caller rests after each message.
    ///   - servers: where each shard is in the end; nil: where it was in the beginning.
    static func run(
        on cluster: TestCluster, roomsPerShard: Int = 4, limits: RouterLimits = RouterLimits(),
        rest: Duration = .zero, servers: [PostgresServer]? = nil,
        _ body: (Traffic) async throws -> Void
    ) async throws {
        let router = try await ShardRouter.start(
            RouterConfiguration(catalog: try cluster.routerSettings(), limits: limits),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let traffic = Traffic(router, rest: rest)
        let rooms = traffic.rooms(roomsPerShard)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await router.run() }
            do {
                try await withThrowingTaskGroup(of: Void.self) { writers in
                    for room in rooms { writers.addTask { try await traffic.write(to: room) } }
                    do {
                        try await body(traffic)
                    } catch {
                        traffic.isOver.store(true, ordering: .releasing)
                        throw error
                    }
                    traffic.isOver.store(true, ordering: .releasing)
                    try await writers.waitForAll()
                }
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
        let places = servers ?? cluster.servers
        try await traffic.check(rooms, places)
        for server in places { try await traffic.expectNoConnections(to: server) }
    }

    /// Waits until callers of `shard` have stored `count` messages more.
    func progress(_ shard: Int, by count: Int = 30) async throws {
        let target = stored(shard) + count
        try await eventually("shard \(shard) stores") { self.stored(shard) >= target }
    }

    /// Waits until a caller of `shard` was told that his message is not stored.
    func failure(_ shard: Int) async throws {
        let before = failures(shard).count
        try await eventually("shard \(shard) fails") { self.failures(shard).count > before }
    }

    /// What callers of `shard` were told instead of a receipt.
    func failures(_ shard: Int) -> [WriteError] {
        ledger.withLock { $0.failures[ShardID(shard)] ?? [] }
    }

    /// Messages of `shard` that were acknowledged.
    func stored(_ shard: Int) -> Int { ledger.withLock { $0.stored[ShardID(shard)] ?? 0 } }

    /// What was acknowledged so far: the seq of each message, by room.
    var acknowledged: [RoomID: [UUID: Int64]] { ledger.withLock(\.seqs) }

    /// What callers have begun to store in each room, in the order of their calls.
    var given: [RoomID: [UUID]] { ledger.withLock(\.given) }

    /// A room of `shard`.
    func room(on shard: Int, _ prefix: String = "own") -> RoomID {
        for number in 0..<100_000 {
            let room = RoomID("\(prefix)-\(number)")
            if router.route(room).shard == ShardID(shard) { return room }
        }
        preconditionFailure("every shard owns some rooms")
    }

    private func rooms(_ perShard: Int) -> [RoomID] {
        var counts: [ShardID: Int] = [:]
        var rooms: [RoomID] = []
        let owning = router.topology.slotCounts.count { $0.value > 0 }
        for number in 0... {
            if rooms.count == owning * perShard { break }
            let room = RoomID("room-\(number)")
            guard let shard = router.route(room).shard, counts[shard, default: 0] < perShard else {
                continue
            }
            counts[shard, default: 0] += 1
            rooms.append(room)
        }
        return rooms
    }

    private func write(to room: RoomID) async throws {
        for number in 0... {
            if isOver.load(ordering: .acquiring) { break }
            let message = Message(
                id: UUID(), room: room, author: "ada", sentAt: .now, receivedAt: .now,
                text: "text \(number)")
            ledger.withLock { $0.given[room, default: []].append(message.id) }
            try await storeAtLast(message)
            if rest > .zero { try await Task.sleep(for: rest) }
        }
    }

    /// Repeats `message` until its shard has stored it.
    func storeAtLast(_ message: Message) async throws {
        let limit = ContinuousClock.now + Self.limit
        while true {
            do throws(WriteError) {
                let receipt = try await router.store(message, patience: Self.patience)
                return ledger.withLock { ledger in
                    ledger.seqs[message.room, default: [:]][message.id] = receipt.seq
                    ledger.stored[receipt.shard, default: 0] += 1
                }
            } catch {
                guard ContinuousClock.now < limit else { throw error }
                let pause = try note(error, message.room)
                try await Task.sleep(for: pause)
            }
        }
    }

    private func note(_ error: WriteError, _ room: RoomID) throws -> Duration {
        let shard: ShardID
        let pause: Duration
        switch error {
        case .overloaded(let full, let retryAfter): (shard, pause) = (full, retryAfter)
        case .unavailable(let away, _, let retryAfter): (shard, pause) = (away, retryAfter)
        case .unknownOutcome(let lost, _): (shard, pause) = (lost, .milliseconds(50))
        case .conflict, .refused, .stopped: throw error
        }
        let owner = router.route(room).shard ?? shard
        ledger.withLock { $0.failures[owner, default: []].append(error) }
        return min(pause, .milliseconds(200))
    }

    // MARK: What is there afterwards

    private func check(_ rooms: [RoomID], _ servers: [PostgresServer]) async throws {
        let (seqs, given) = ledger.withLock { ($0.seqs, $0.given) }
        for room in seqs.keys {
            let rows = try await rows(of: room, servers)
            let ids = rows.map(\.id)
            #expect(rows.map(\.seq) == Array(1...Int64(rows.count)), "\(room): seq has a hole")
            #expect(Set(ids).count == ids.count, "\(room): an id is stored twice")
            for (id, seq) in seqs[room] ?? [:] {
                #expect(rows.contains { $0.id == id && $0.seq == seq }, "\(room): \(id) is lost")
            }
            // One caller at a time: the order of the calls is the order of the room.
            if let given = given[room] {
                #expect(ids.filter(Set(given).contains) == given, "\(room): the order differs")
            }
        }
        #expect(rooms.allSatisfy { !(seqs[$0] ?? [:]).isEmpty }, "every room has messages")
    }

    /// The rows of a room where its slot is active, which is on exactly one server; an old copy that
    /// waits for its purge does not count.
    private func rows(
        of room: RoomID, _ servers: [PostgresServer]
    ) async throws -> [(seq: Int64, id: UUID)] {
        var found: [[(seq: Int64, id: UUID)]] = []
        for server in servers {
            let owns: Int = try await ask(
                server,
                "select count(*) from shard.slots where slot = shard.slot_of($1) "
                    + "and state = 'active'", [room.text])[0].get(0)
            guard owns == 1 else { continue }
            let rows = try await ask(
                server, "select seq, id from messages where room_id = $1 order by seq", [room.text])
            found.append(try rows.map { (try $0.get(0), try $0.get(1)) })
        }
        #expect(found.count == 1, "\(room) is active on \(found.count) shards")
        return found.first ?? []
    }

    private func expectNoConnections(to server: PostgresServer) async throws {
        try await eventually("its connections are closed") {
            let rows = try await self.ask(
                server,
                "select count(*) from pg_stat_activity where application_name = 'shardrouter'")
            return try rows[0].get(0, as: Int.self) == 0
        }
    }

    private func ask(
        _ server: PostgresServer, _ sql: String, _ parameters: [any PostgresEncodable] = []
    ) async throws -> Rows {
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString()), deadline: .now + .seconds(20))
        defer { connection.close() }
        return try await connection.query(sql, parameters, deadline: .now + .seconds(20))
    }

    /// Looks until `condition` holds.
    func eventually(
        _ what: String, _ condition: @Sendable () async throws -> Bool
    ) async throws {
        let limit = ContinuousClock.now + Self.limit
        while try await !condition() {
            guard ContinuousClock.now < limit else {
                throw TestServerError(description: "not within \(Self.limit): \(what)")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }
}
