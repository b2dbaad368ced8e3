import FoundationEssentials
import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

@testable import ShardOperations

/// Two shards, some slots of the first with a room that has messages, and something that happens
/// while they move.
struct MoveStage {
    let cluster: TestCluster
    let operations: Cluster
    let source: Shard
    let target: Shard
    /// Of shard 1.
    let room: String
    let slots: [Int]
    var limits = MoveLimits()

    /// - Parameter settings: of both shards' servers.
    static func start(
        settings: [String: String] = [:], messages: Int = 100
    ) async throws -> MoveStage {
        let servers = try (0..<2).map { _ in try PostgresServer.start(settings: settings) }
        let cluster = try await TestCluster.start(on: servers, seed: 1)
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let row = try await cluster.rows(
            shard: 1,
            """
            select name, slot::int8 from generate_series(1, 1000) n, format('room-%s', n) name
            join shard.slots s on s.slot = shard.slot_of(name) where s.state = 'active' limit 1
            """)[0]
        let (room, slot): (String, Int) = (try row.get(0), try row.get(1))
        let stage = MoveStage(
            cluster: cluster, operations: operations, source: topology.shards[0],
            target: topology.shards[1], room: room,
            slots: Set(topology.slots(of: 1).prefix(8)).union([slot]).sorted())
        try await stage.write(messages)
        return stage
    }

    /// A mover whose moves do `body` when they come to `point` for the first time.
    func mover(
        at point: MovePoint, _ body: @escaping @Sendable () async throws -> Void
    ) -> Mover {
        let isDone = Flag()
        var watch = MoveWatch()
        watch.reached = { reached, _ in
            if reached == point, isDone.raise() { try await body() }
        }
        return Mover(cluster: operations, limits: limits, watch: watch)
    }

    /// Moves the slots to shard 2, disturbed once by `body` at `point`.
    func move(
        at point: MovePoint, _ body: @escaping @Sendable () async throws -> Void
    ) async throws -> Move {
        try await mover(at: point, body).move(slots, from: source, to: target, reason: "test")
    }

    /// Stores messages in the room as chatd does, on `shard`, and returns how many were stored.
    @discardableResult func write(_ count: Int, shard: Int = 1, bytes: Int = 10) async throws -> Int
    {
        try await cluster.rows(
            shard: shard,
            """
            select count(*) from (select array_agg('\(room)'::text) as rooms,
                array_agg(gen_random_uuid()) as ids, array_agg('ada'::text) as authors,
                array_agg(now()) as times,
                array_agg(text) as texts
                from generate_series(1, \(count)) n cross join lateral (
                    select string_agg(md5(n::text || p), '') as text
                    from generate_series(0, \(bytes) / 32) p) t) s,
            shard.append_messages(rooms, ids, authors, times, times, texts) a
            where a.outcome = 'stored'
            """)[0].get(0)
    }

    /// Runs a script as the superuser, in sessions whose triggers do not fire.
    func script(shard: Int, _ sql: String) async throws {
        let connection = try await cluster.operatorConnection(shard: shard)
        defer { connection.close() }
        try await connection.script(sql, deadline: .now + .seconds(30))
    }

    /// The rows of a table on `shard` as texts, in their order.
    func texts(shard: Int, _ table: String = "messages") async throws -> [String] {
        try await cluster.rows(shard: shard, "select t::text from \(table) t order by 1").map {
            try $0.get(0)
        }
    }

    /// Which shard is active for all of the slots, and what the catalog says; 0: none.
    func owner() async throws -> (active: Int, catalog: Int) {
        var active = 0
        for shard in 1...2 {
            let count: Int = try await cluster.rows(
                shard: shard,
                "select count(*) from shard.slots where state = 'active' "
                    + "and slot in (\(slots.map(String.init).joined(separator: ",")))"
            )[0].get(0)
            if count == slots.count { active = shard }
        }
        let topology = try await operations.topology()
        let owners = Set(slots.map { topology.owners[$0] })
        return (active, owners == [ShardID(1)] ? 1 : owners == [ShardID(2)] ? 2 : 0)
    }

    /// Nothing changed hands, and an abort clears everything up.
    func expectStopped() async throws {
        #expect(try await owner() == (1, 1))
        for move in try await MoveJournal(cluster: operations).openMoves() {
            try await MoveAbort(cluster: operations, move: move, limits: limits).run(
                because: "test")
        }
        #expect(try await owner() == (1, 1))
        try await cluster.expectNothingLeft()
    }
}

/// Raised once.
final class Flag: Sendable {
    private let state = Mutex(false)

    var isRaised: Bool { state.withLock { $0 } }

    /// Whether this is the first time.
    func raise() -> Bool {
        state.withLock { state in
            defer { state = true }
            return !state
        }
    }
}
