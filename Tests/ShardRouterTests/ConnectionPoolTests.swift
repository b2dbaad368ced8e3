import CoreMetrics
import FoundationEssentials
import Postgres
import Synchronization
import TestKit
import Testing

@testable import ShardRouter

@Suite struct ConnectionPoolTests {
    private let patience = Duration.seconds(20)

    /// A connection in memory.
    private final class FakeConnection: PoolConnection {
        let number: Int
        private let isCut = Atomic<Bool>(false)
        private let isClosed = Atomic<Bool>(false)

        init(number: Int) { self.number = number }

        var isUsable: Bool { !isClosed.load(ordering: .acquiring) }
        var isPeerGone: Bool { isCut.load(ordering: .acquiring) }
        var isInTransaction: Bool { false }
        var hasLostRole: Bool { false }
        func resetSession(deadline: ContinuousClock.Instant) async throws(PostgresError) {}
        func close() { isClosed.store(true, ordering: .releasing) }
        func cut() { isCut.store(true, ordering: .releasing) }
    }

    private final class FakeConnector: PoolConnector {
        private let count = Atomic<Int>(0)
        let name = "fake"

        func connect(
            deadline: ContinuousClock.Instant
        ) async throws(ShardError) -> FakeConnection {
            FakeConnection(number: count.add(1, ordering: .relaxed).newValue)
        }
    }

    /// Connections to a server that is no shard.
    private struct PlainConnector: PoolConnector {
        let settings: ConnectionSettings
        let name = "plain"

        func connect(
            deadline: ContinuousClock.Instant
        ) async throws(ShardError) -> PostgresConnection {
            do throws(PostgresError) {
                return try await PostgresConnection.connect(settings, deadline: deadline)
            } catch {
                throw .unreachable(shard: name, reason: "\(error)")
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a pool of connections in memory keeps its promises`() async throws {
        try await PoolContract(connector: FakeConnector()) {
            $0.number
        } cut: {
            $0.cut()
        }.check()
    }

    @Test(.timeLimit(.minutes(1)))
    func `a pool of connections to a server keeps its promises`() async throws {
        let server = try PostgresServer.start()
        let settings = try ConnectionSettings(server.connectionString())
        let other = try await PostgresConnection.connect(settings, deadline: .now + patience)

        try await PoolContract(connector: PlainConnector(settings: settings)) {
            try await processID($0)
        } cut: {
            let pid = try await processID($0)
            _ = try await other.query(
                "select pg_terminate_backend($1, 10000)", [Int32(pid)], deadline: .now + patience)
        }.check()

        let left = try await other.query(
            "select count(*) from pg_stat_activity where backend_type = 'client backend'",
            deadline: .now + patience)
        #expect(try left[0].get(0, as: Int.self) == 1, "nothing is left open")
    }

    @Test(.timeLimit(.minutes(1)))
    func `what a foreign body leaves in its session is gone for the next`() async throws {
        let server = try PostgresServer.start()
        let settings = try ConnectionSettings(server.connectionString())
        var limits = PoolLimits()
        limits.connections = 1
        let pool = ConnectionPool(
            PlainConnector(settings: settings), limits: limits,
            metrics: PoolMetrics(shard: "plain", factory: NOOPMetricsHandler.instance))

        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await pool.run() }
            let first = try await pool.withConnection(deadline: .now + patience, reset: true) {
                try await $0.script(
                    """
                    set search_path = nowhere; listen news; select pg_advisory_lock(7);
                    create temp table mine (n int4); begin; select 1
                    """, deadline: .now + patience)
                return try await processID($0)
            }
            try await pool.withConnection(deadline: .now + patience) { connection in
                let row = try await connection.query(
                    """
                    select current_setting('search_path'), to_regclass('pg_temp.mine') is null,
                        (select count(*) from pg_listening_channels()),
                        (select count(*) from pg_locks where locktype = 'advisory')
                    """, deadline: .now + patience)[0]
                #expect(try row.get(0, as: String.self).contains("public"))
                #expect(try row.get(1, as: Bool.self))
                #expect(try row.get(2, as: Int.self) == 0)
                #expect(try row.get(3, as: Int.self) == 0)
                #expect(!connection.isInTransaction)
                #expect(try await processID(connection) == first, "it is the same connection")
            }
            pool.close()
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a connection that the server closed at rest is noticed before it is used`()
        async throws
    {
        let server = try PostgresServer.start()
        let settings = try ConnectionSettings(server.connectionString())
        var limits = PoolLimits()
        limits.kept = 1  // No other connection is being made when the server ends.
        let pool = ConnectionPool(
            PlainConnector(settings: settings), limits: limits,
            metrics: PoolMetrics(shard: "plain", factory: NOOPMetricsHandler.instance))

        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await pool.run() }
            _ = try await pool.withConnection(deadline: .now + patience) {
                try await processID($0)
            }
            server.kill()
            try server.start()

            let process = try await pool.withConnection(deadline: .now + patience) {
                try await processID($0)
            }

            #expect(process > 0)
            pool.close()
        }
    }

    private func processID(_ connection: PostgresConnection) async throws -> Int {
        let row = try await connection.query("select pg_backend_pid()", deadline: .now + patience)
        return Int(try row[0].get(0, as: Int32.self))
    }
}
