import Postgres
import Synchronization
import TestKit
import Testing

@testable import ShardOperations

/// A file whose locks are held by others, and connections that end meanwhile.
@Suite(.timeLimit(.minutes(2))) struct MigrationWaitingTests {
    private var soon: ContinuousClock.Instant { .now + .seconds(20) }

    private func stage() async throws -> (MigrationStage, PostgresConnection) {
        let stage = try await MigrationStage.start()
        try await stage.run("create table t (a int4); insert into t values (1)")
        return (stage, try await MigrationStage.connect(stage.server.connectionString()))
    }

    private func until(_ condition: () async throws -> Bool) async throws {
        while try await !condition() { try await Task.sleep(for: .milliseconds(20)) }
    }

    private func isWaiting(_ stage: MigrationStage) -> Bool {
        stage.events.contains { if case .triesAgain = $0 { true } else { false } }
    }

    @Test func `a lock is not tried again before its holder is through`() async throws {
        let (stage, holder) = try await stage()
        defer { holder.close() }
        try await holder.script("begin; lock table t in access share mode", deadline: soon)

        async let applied = stage.up(
            "-- shardctl: lock_timeout=1s\nalter table t add column b int4;")
        try await until { isWaiting(stage) }
        // Long after a pause of any length would be over.
        try await Task.sleep(for: .seconds(2))
        let attempts = stage.beginnings
        try await holder.script("commit", deadline: soon)

        #expect(try await applied == [2])
        #expect(attempts == 1)
        #expect(stage.beginnings == 2)
    }

    @Test func `no wait is counted twice`() async throws {
        let (stage, holder) = try await stage()
        defer { holder.close() }
        try await holder.script("begin; lock table t in access share mode", deadline: soon)
        var migrator = try stage.migrator([
            ("-- shardctl: lock_timeout=1s\nalter table t add column b int4;", nil)
        ])
        migrator.limits.patience = .milliseconds(2_700)
        migrator.limits.firstPause = .milliseconds(1)
        let attempts = Atomic(0)

        await #expect(throws: OperationError.self) {
            try await migrator.up(stage.connection) { event in
                if case .begins = event.what { attempts.add(1, ordering: .relaxed) }
            }
        }

        #expect(attempts.load(ordering: .relaxed) == 3)
    }

    @Test func `a migration goes on when the connection that watches is cut`() async throws {
        let (stage, holder) = try await stage()
        defer { holder.close() }
        try await holder.script("begin; lock table t in access share mode", deadline: soon)
        let watcher = try await stage.value("select pg_backend_pid()::text") ?? ""

        async let applied = stage.up(
            "-- shardctl: lock_timeout=500ms\nalter table t add column b int4;")
        try await until { isWaiting(stage) }
        _ = try await holder.query(
            "select pg_terminate_backend(\(watcher))", deadline: soon)
        try await Task.sleep(for: .milliseconds(300))
        try await holder.script("commit", deadline: soon)

        #expect(try await applied == [2])
    }

    /// The reader has the table, so that even the removal of what is left has to wait.
    @Test func `an index that is given up names the holder and is finished by the next call`()
        async throws
    {
        let (stage, reader) = try await stage()
        defer { reader.close() }
        let script = "\(MigrationStage.off)create index concurrently i on t (a);"
        try await reader.script(
            "begin isolation level repeatable read; select a from t", deadline: soon)
        let pid = try await reader.query("select pg_backend_pid()::text", deadline: soon)[0]
            .get(0, as: String.self)

        let failure = await #expect(throws: OperationError.self) {
            try await stage.up(script) { limits in
                limits.patience = .milliseconds(300)
                limits.longestPause = .milliseconds(300)
            }
        }
        let left = try await stage.value(
            "select count(*)::text from shard.migration_steps where state = 'started'")
        try await reader.script("commit", deadline: soon)
        #expect(try await stage.up(script) == [2])

        #expect(failure?.description.contains("no lock within") == true, "\(failure as Any)")
        #expect(failure?.description.contains("held by pid \(pid)") == true)
        #expect(left == "1")
        #expect(
            try await stage.value("select bool_and(indisvalid)::text from pg_index") == "true")
    }

    @Test func `an index that somebody cancels leaves nothing and blames no time-out`()
        async throws
    {
        let (stage, reader) = try await stage()
        defer { reader.close() }
        let script = "\(MigrationStage.off)create index concurrently i on t (a);"
        try await reader.script("begin isolation level repeatable read; select 1", deadline: soon)

        async let cancelled: Void = cancelIndex(stage, reader)
        let failure = await #expect(throws: OperationError.self) { try await stage.up(script) }
        try await cancelled
        let left = try await stage.value("select count(*)::text from shard.migration_steps")
        try await reader.script("commit", deadline: soon)

        #expect(failure?.description.contains("canceling statement due to user request") == true)
        #expect(failure?.description.contains("one statement may take") == false)
        #expect(left == "0")
        #expect(try await stage.file("i") == nil)
        #expect(try await stage.up(script) == [2])
    }

    private func cancelIndex(_ stage: MigrationStage, _ reader: PostgresConnection) async throws {
        try await until {
            stage.events.contains { if case .waitingForLock = $0 { true } else { false } }
        }
        _ = try await reader.query(
            "select pg_cancel_backend(pid) from pg_stat_activity where query like 'create index%'",
            deadline: soon)
    }

    @Test func `a commit whose answer was lost is not called rolled back`() async throws {
        let (stage, holder) = try await stage()
        defer { holder.close() }
        let proxy = try FaultProxy(to: stage.server.port).start()
        defer { proxy.stop() }
        let connection = try await MigrationStage.connect(
            "host=127.0.0.1 port=\(proxy.port) user=postgres dbname=postgres")
        defer { connection.close() }
        let migrator = try stage.migrator([("insert into t values (2);", nil)])
        proxy.cutNext(.beforeAnswer, marker: "; commit")

        let failure = await #expect(throws: OperationError.self) {
            try await migrator.up(connection)
        }
        try await until {
            try await stage.value("select count(*)::text from shard.migrations") == "2"
        }
        #expect(try await stage.up(migrator) == [])

        #expect(failure?.description.contains("rolled back") == false, "\(failure as Any)")
        #expect(failure?.description.contains("the next call finds out") == true)
        #expect(try await stage.value("select count(*)::text from t") == "2")
    }
}
