import FoundationEssentials
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

/// The doctor beside open moves, and beside shards that are away.
@Suite struct DoctorMoveTests {
    private func examine(
        _ databases: Databases, _ change: (inout DoctorLimits) -> Void = { _ in }
    ) async throws -> [Finding] {
        var limits = DoctorLimits()
        limits.pause = .milliseconds(1)
        change(&limits)
        return try await Doctor(cluster: try databases.cluster(), limits: limits).run()
    }

    /// Move 1 of slot 5, with what it has at both shards while it catches up; the subscription is
    /// disabled.
    private func movingFleet(_ server: PostgresServer) async throws -> (Databases, String) {
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let name = try await databases.artefactPrefix() + "1"
        try await databases.openMove([5])
        try await databases.script("one", "create publication \(name) for table rooms")
        try await databases.script(
            "one", "select pg_create_logical_replication_slot('\(name)', 'pgoutput')")
        try await databases.script(
            "two",
            """
            select shard.move_prepare(1, array[5]); select shard.move_import(1, array[5]);
            create subscription \(name) connection
                'host=127.0.0.1 port=\(server.port) user=postgres dbname=\(databases.prefix)_one'
                publication \(name) with (connect = false, slot_name = '\(name)')
            """)
        return (databases, name)
    }

    @Test func `an open move that nobody runs is found, one that somebody runs is not`()
        async throws
    {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        try await databases.openMove([5])
        #expect(try await examine(databases) == [])
        try await databases.script(
            "catalog", "update catalog.moves set opened_at = now() - interval '2 minutes'")

        let found = try await examine(databases)

        #expect(found.map(\.code) == [.moveWithoutRunner])
        #expect(found.first?.repair == "shardctl move resume 1")
        let runner = try await databases.connect("catalog")
        defer { runner.close() }
        _ = try await runner.query(
            "select pg_advisory_lock(1836412517, 1)", deadline: .now + .seconds(20))
        #expect(try await examine(databases) == [])
    }

    @Test func `a fence of an open move that stands too long is found`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        try await databases.openMove([5, 6])
        try await databases.script(
            "one",
            """
            select shard.move_fence(1, array[5, 6], array[1, 1], 0, 2);
            update shard.slots set fenced_at = now() - interval '6 seconds' where slot in (5, 6)
            """)

        let found = try await examine(databases)

        #expect(found.map(\.code) == [.staleFence])
        #expect(found.first?.detail.contains("5–6") == true)
        #expect(found.first?.repair == "shardctl move resume 1")
    }

    @Test func `a disabled subscription and held log are found`() async throws {
        let server = try PostgresServer.start()
        let (databases, _) = try await movingFleet(server)
        // So that the log is longer than what a slot always holds.
        try await databases.script("one", "insert into rooms values ('lobby')")

        let found = try await examine(databases) { $0.heldBytes = 1 }

        #expect(found.map(\.code) == [.replicationSlotHoldsLog, .subscriptionDisabled])
        #expect(found.map(\.shard) == ["one", "two"])
    }

    @Test func `a replication slot that is gone or lost is found`() async throws {
        let server = try PostgresServer.start(settings: ["max_slot_wal_keep_size": "1MB"])
        let (databases, name) = try await movingFleet(server)
        for _ in 0..<4 {
            try await databases.script(
                "one", "select pg_logical_emit_message(false, 'x', repeat('x', 3000000))")
            try await databases.script("one", "select pg_switch_wal()")
        }
        try await databases.script("one", "checkpoint")

        let lost = try await examine(databases).first { $0.code == .replicationSlotLost }
        try await databases.script("one", "select pg_drop_replication_slot('\(name)')")
        let gone = try await examine(databases).first { $0.code == .replicationSlotLost }

        #expect(lost?.detail.contains("is lost") == true)
        #expect(gone?.detail.contains("no replication slot") == true)
        #expect([lost, gone].allSatisfy { $0?.repair == "shardctl move abort 1 --yes" })
    }

    @Test func `a subscription that cannot apply is found`() async throws {
        let server = try PostgresServer.start()
        let (databases, name) = try await movingFleet(server)
        try await databases.script("two", "insert into rooms values ('lobby')")
        try await databases.script("two", "alter subscription \(name) enable")
        try await databases.script(
            "two", "alter subscription \(name) refresh publication with (copy_data = false)")
        try await databases.script("one", "insert into rooms values ('lobby')")
        let limit = ContinuousClock.now + .seconds(30)
        var errors = 0
        while errors == 0, ContinuousClock.now < limit {
            errors = try await databases.value(
                "two", "select apply_error_count from pg_stat_subscription_stats")
        }

        let found = try await examine(databases)

        #expect(found.contains { $0.code == .subscriptionFails && $0.shard == "two" })
        try await databases.script("two", "drop subscription \(name)")
    }

    @Test func `an addition that was cut off is found and its repeat mends it`() async throws {
        struct CutOff: Error {}
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        try await databases.add("one")
        var adding = ShardAdding(
            cluster: try databases.cluster(), name: "two", endpoint: databases.endpoint("two"),
            weight: 2)
        adding.reached = { if $0 == .ownersLetGo { throw CutOff() } }
        await #expect(throws: CutOff.self) { try await adding.run() }

        let found = try await examine(databases)

        #expect(found.map(\.code) == [.unfinishedAddition, .noOwner])
        #expect(try await databases.shardctl.shell(found[1].repair).code == 0)
        #expect(try await examine(databases) == [])
    }

    @Test func `a shard that is away does not hide the troubles of the others`() async throws {
        let (server, other) = (try PostgresServer.start(), try PostgresServer.start())
        let databases = try await Databases.make(on: server, shards: ["one"])
        try await databases.add("one")
        try await databases.add(
            "two", endpoint: "host=127.0.0.1 port=\(other.port) dbname=postgres")
        try await databases.script("one", "create table notes (room_id text)")
        try await databases.script("one", "update shard.slots set state = 'none' where slot = 5")
        other.kill()

        let found = try await examine(databases)

        #expect(found.map(\.code) == [.shardAway, .catalogDisagrees, .tableNotRegistered])
        #expect(found.map(\.shard) == ["two", "one", "one"])
    }

    @Test func `endpoints that were swapped are found`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        try await databases.script(
            "catalog",
            """
            update catalog.shards set endpoint = endpoint || ' ';
            update catalog.shards set endpoint =
                case name when 'one' then '\(databases.endpoint("two"))'
                else '\(databases.endpoint("one"))' end
            """)

        #expect(try await examine(databases).map(\.code) == [.wrongDatabase, .wrongDatabase])
    }

    @Test func `a catalog without owners of some slots is found`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one"])
        try await databases.script("catalog", "delete from catalog.slots where slot = 5")

        #expect(try await examine(databases).map(\.code) == [.catalogContradictsItself])
    }

    @Test func `the doctor writes nothing, whatever it finds`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        try await databases.script("two", "create table notes (room_id text)")
        try await databases.script("one", "update shard.slots set state = 'none' where slot = 5")
        let isReadOnly = "options='-c default_transaction_read_only=on'"
        try await databases.script(
            "catalog",
            "update catalog.shards set endpoint = endpoint || $$ \(isReadOnly)$$")
        let cluster = Cluster(
            catalog: try ConnectionSettings(
                server.connectionString(database: "\(databases.prefix)_catalog") + " "
                    + isReadOnly), migrations: Databases.migrations)
        var limits = DoctorLimits()
        limits.pause = .milliseconds(1)

        let found = try await Doctor(cluster: cluster, limits: limits).run()

        #expect(found.map(\.code) == [.noOwner, .tableNotRegistered])
    }
}
