import Postgres
import Synchronization
import TestKit
import Testing

@testable import ShardOperations

@Suite struct MigratorTests {
    private var soon: ContinuousClock.Instant { .now + .seconds(30) }

    /// What the files of a shard have made before those of a test.
    private static func history() throws -> Migration {
        try migration(
            1, "history",
            """
            create schema shard; create table shard.migrations (version int primary key,
            title text, checksum text, applied_at timestamptz default now(), duration_ms bigint);
            create table shard.migration_steps (version int, direction text, step int,
            statement text, state text, started_at timestamptz default clock_timestamp(),
            done_at timestamptz, primary key (version, direction, step));
            create table public.a (n int4);
            """)
    }

    private static func migration(
        _ version: Int, _ title: String, _ sql: String, down: String? = nil
    ) throws -> Migration {
        Migration(
            version: version, title: title, checksum: "\(version)",
            up: try MigrationScript(file: "\(title).up.sql", sql: sql),
            down: try down.map { try MigrationScript(file: "\(title).down.sql", sql: $0) })
    }

    private func migrator(_ migrations: [Migration]) throws -> Migrator {
        var migrator = Migrator(kind: .shard, migrations: [try Self.history()] + migrations)
        migrator.limits.patience = .milliseconds(300)
        migrator.limits.firstPause = .milliseconds(50)
        return migrator
    }

    private func connect(_ server: PostgresServer) async throws -> PostgresConnection {
        try await .connect(try ConnectionSettings(server.connectionString()), deadline: soon)
    }

    private func text(_ connection: PostgresConnection, _ sql: String) async throws -> String? {
        try await connection.query(sql, deadline: soon)[0].get(0)
    }

    @Test func `an edit of an applied file is refused by the database's own history`()
        async throws
    {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        _ = try await migrator([]).up(connection)
        var edited = try Self.history()
        edited.checksum = "2"

        let failure = await #expect(throws: OperationError.self) {
            try await Migrator(kind: .shard, migrations: [edited]).up(connection)
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains("(history) was edited after it was applied") == true)
        #expect(failure?.next.contains("--accept 1") == true)
    }

    @Test func `files of a newer release in the database are refused`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        _ = try await migrator([]).up(connection)

        await #expect(throws: OperationError.self) {
            try await Migrator(kind: .shard, migrations: []).applied(connection, deadline: soon)
        }
    }

    @Test func `a failing file leaves nothing and names its line`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let bad = try Self.migration(2, "bad", "create table b (n int4);\n\nselect 1/0;")

        let failure = await #expect(throws: OperationError.self) {
            try await migrator([bad]).up(connection)
        }

        #expect(failure?.description.contains("bad.up.sql, line 3: division by zero") == true)
        #expect(try await migrator([bad]).applied(connection, deadline: soon) == [1])
        #expect(try await text(connection, "select to_regclass('b')::text") == nil)
        #expect(!connection.isInTransaction)
    }

    @Test func `a lock that is not free is given up in time, and its holder is named`()
        async throws
    {
        let server = try PostgresServer.start()
        let (connection, observer, holder) = try await (
            connect(server), connect(server), connect(server)
        )
        defer { for one in [connection, observer, holder] { one.close() } }
        _ = try await migrator([]).up(connection)
        let migrator = try migrator([
            try Self.migration(2, "change", "alter table public.a add m int4;")
        ])
        let words = Mutex<[String]>([])

        try await holder.script(
            "begin; lock table public.a; select 'a secret' as x", deadline: soon)
        let failure = await #expect(throws: OperationError.self) {
            try await migrator.up(connection, observer: observer) { event in
                if case .waitingForLock(_, let who) = event.what {
                    words.withLock { $0.append(who) }
                }
            }
        }
        let pid = try await text(holder, "select pg_backend_pid()::text") ?? ""
        #expect(failure?.description.contains("held by pid \(pid)") == true, "\(failure as Any)")
        #expect(!words.withLock { $0 }.isEmpty)
        #expect(words.withLock { $0 }.allSatisfy { !$0.contains("secret") })
        #expect(!connection.isInTransaction)
        try await holder.script("commit", deadline: soon)

        #expect(try await migrator.up(connection, observer: observer) == [2])
        #expect(try await migrator.applied(connection, deadline: soon) == [1, 2])
    }

    @Test func `settings that a file leaves behind do not reach the next one`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let migrator = try migrator([
            try Self.migration(
                2, "dump", "select pg_catalog.set_config('search_path', '', false);"),
            try Self.migration(3, "plain", "create table b (n int4);"),
        ])

        #expect(try await migrator.up(connection) == [1, 2, 3])

        #expect(try await text(connection, "select to_regclass('public.b')::text") == "b")
    }

    @Test func `rows of a COPY are stored`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let migrator = try migrator([
            try Self.migration(2, "rows", "copy public.a (n) from stdin;\n1\n2\n\\.\nselect 1;")
        ])

        _ = try await migrator.up(connection)

        #expect(try await text(connection, "select string_agg(n::text, ' ') from a") == "1 2")
    }

    @Test(arguments: [
        ("begin; select 1; commit;", "the runner begins and ends transactions"),
        ("create index concurrently i on a (n);", "cannot run in a transaction"),
        ("vacuum a;", "cannot run in a transaction"),
        ("copy a to stdout;", "nobody would take the rows"),
    ])
    func `what would break the transaction of a file is refused before it begins`(
        sql: String, reason: String
    ) async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let migrator = try migrator([
            try Self.migration(2, "bad", "create table b (n int4);\n" + sql)
        ])

        let failure = await #expect(throws: OperationError.self) {
            try await migrator.up(connection)
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains(reason) == true)
        #expect(try await text(connection, "select to_regclass('b')::text") == nil)
    }

    @Test func `the way back undoes a file and takes it out of the history`() async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let migrator = try migrator([
            try Self.migration(2, "b", "create table b (n int4);", down: "drop table b;")
        ])
        _ = try await migrator.up(connection)

        #expect(try await migrator.down(2, connection))

        #expect(try await text(connection, "select to_regclass('b')::text") == nil)
        #expect(try await migrator.state(connection, deadline: soon).versions == [1])
        #expect(try await !migrator.down(2, connection))
    }

    @Test(arguments: [(3, "has no way back"), (2, "came after it")])
    func `what cannot be taken back is refused`(version: Int, reason: String) async throws {
        let server = try PostgresServer.start()
        let connection = try await connect(server)
        defer { connection.close() }
        let migrator = try migrator([
            try Self.migration(2, "b", "create table b (n int4);", down: "drop table b;"),
            try Self.migration(3, "c", "create table c (n int4);", down: "-- nothing\n"),
        ])
        _ = try await migrator.up(connection)

        let failure = await #expect(throws: OperationError.self) {
            try await migrator.down(version, connection)
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains(reason) == true)
        #expect(try await migrator.state(connection, deadline: soon).versions == [1, 2, 3])
    }
}

@Suite struct MigrationDirectivesTests {
    @Test(arguments: [
        ("create table a ();", nil), ("-- a comment\nselect 1;", nil),
        ("-- shardctl: lock_timeout=500ms\nselect 1;", Duration.milliseconds(500)),
        ("-- shardctl: transaction=on lock_timeout=3s\nselect 1;", .seconds(3)),
        ("-- shardctl: lock_timeout=2min", .seconds(120)), ("-- shardctl: lock_timeout=0", .zero),
        ("-- shardctl: allow=ban-drop-table reason=\"nobody reads it\"", nil),
    ])
    func `the first line sets the lock time-out`(sql: String, time: Duration?) throws {
        #expect(try MigrationDirectives(sql: sql).lockTimeout == time)
    }

    @Test func `all directives are read`() throws {
        let directives = try MigrationDirectives(
            sql: "-- shardctl: transaction=off statement_timeout=5min phase=contract repeatable=on")

        #expect(!directives.isTransactional)
        #expect(directives.statementTimeout == .seconds(300))
        #expect(directives.phase == .contract)
        #expect(directives.isRepeatable)
    }

    @Test(arguments: [
        "--shardctl: lock_timeout=1s\nselect 1;", "-- ShardCtl: transaction=off\nselect 1;",
        "-- a title\n-- shardctl: transaction=off\nselect 1;",
        "-- shardctl: allow=ban-drop-table reason=\"x\" transaction=off\ndrop table a;",
    ])
    func `what looks like a directive and is none is refused`(sql: String) {
        #expect(throws: OperationError.self) { try MigrationScript(file: "a.up.sql", sql: sql) }
    }

    @Test(arguments: [
        ("-- shardctl: transaction=maybe", "neither on nor off"),
        ("-- shardctl: lock_timeout=soon", "no time such as"),
        ("-- shardctl: lock_timeout=0s", "no time such as"),
        ("-- shardctl: statement_timeout=2h", "no time such as"),
        ("-- shardctl: phase=later", "neither expand nor contract"),
        ("-- shardctl: canary=shard-a", "'canary=shard-a'"),
    ])
    func `what cannot be followed is refused by name`(sql: String, reason: String) throws {
        let problem = #expect(throws: MigrationDirectives.Problem.self) {
            try MigrationDirectives(sql: sql)
        }
        #expect(problem?.description.contains(reason) == true)
    }
}
