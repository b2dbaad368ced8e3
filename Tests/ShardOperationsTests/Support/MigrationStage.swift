import Postgres
import Synchronization
import TestKit

@testable import ShardOperations

/// One database with a history and some tables, and a file that is to be applied to it.
final class MigrationStage: Sendable {
    static let off = "-- shardctl: transaction=off\n"

    let server: PostgresServer
    let connection: PostgresConnection
    let observer: PostgresConnection
    private let seen = Mutex<[MigrationEvent.What]>([])

    private init(server: PostgresServer) async throws {
        self.server = server
        connection = try await Self.connect(server.connectionString())
        observer = try await Self.connect(server.connectionString())
    }

    deinit {
        connection.close()
        observer.close()
    }

    static func start() async throws -> MigrationStage {
        let stage = try await MigrationStage(server: try .start())
        _ = try await stage.migrator([]).up(stage.connection)
        return stage
    }

    static func connect(_ text: String) async throws -> PostgresConnection {
        try await .connect(try ConnectionSettings(text), deadline: .now + .seconds(20))
    }

    /// What was told since the last ``up(_:down:limits:)`` began.
    var events: [MigrationEvent.What] { seen.withLock { $0 } }

    var mends: [String] {
        events.compactMap { if case .mends(_, let statement) = $0 { statement } else { nil } }
    }

    /// How often a statement began.
    var beginnings: Int {
        events.count { if case .begins = $0 { true } else { false } }
    }

    func migrator(_ scripts: [(up: String, down: String?)]) throws -> Migrator {
        let history = try Self.migration(
            1,
            """
            create schema shard; create table shard.migrations (version int primary key,
            title text, checksum text, applied_at timestamptz default now(), duration_ms bigint);
            create table shard.migration_steps (version int, direction text, step int,
            statement text, state text, started_at timestamptz default clock_timestamp(),
            done_at timestamptz, primary key (version, direction, step));
            """, nil)
        var migrator = Migrator(
            kind: .shard,
            migrations: try [history]
                + scripts.enumerated().map { try Self.migration($0.0 + 2, $0.1.up, $0.1.down) })
        migrator.limits.patience = .seconds(20)
        migrator.limits.firstPause = .milliseconds(50)
        return migrator
    }

    private static func migration(_ version: Int, _ up: String, _ down: String?) throws -> Migration
    {
        Migration(
            version: version, title: "file", checksum: "\(version)",
            up: try MigrationScript(file: "\(version).up.sql", sql: up),
            down: try down.map { try MigrationScript(file: "\(version).down.sql", sql: $0) })
    }

    /// Applies one file, number 2, and gives what was applied.
    func up(
        _ script: String, change: (inout MigrationLimits) -> Void = { _ in }
    ) async throws -> [Int] {
        var migrator = try migrator([(script, nil)])
        change(&migrator.limits)
        return try await up(migrator)
    }

    func up(_ migrator: Migrator) async throws -> [Int] {
        seen.withLock { $0 = [] }
        return try await migrator.up(connection, observer: observer) { event in
            self.seen.withLock { $0.append(event.what) }
        }
    }

    /// The journal as a runner leaves it that was killed in the last statement of `script`.
    func killed(in script: String, _ direction: MigrationDirection = .up) async throws {
        let statements = try MigrationScript(file: "2.up.sql", sql: script).statements
        for (index, statement) in statements.enumerated() {
            let state = index == statements.count - 1 ? "started" : "done"
            try await run(
                """
                insert into shard.migration_steps (version, direction, step, statement, state)
                values (2, '\(direction.rawValue)', \(index + 1), '\(statement.checksum)', '\(state)')
                """)
        }
    }

    /// As if file 2 had never been applied.
    func forget() async throws {
        try await run(
            "delete from shard.migrations where version > 1; delete from shard.migration_steps")
    }

    func run(_ sql: String) async throws {
        try await observer.script(sql, deadline: .now + .seconds(20))
    }

    func value(_ sql: String) async throws -> String? {
        try await observer.query(
            Statement(sql, isPrepared: false), deadline: .now + .seconds(20))[0].get(0)
    }

    /// The file behind a relation: another one when it was rebuilt. nil when there is none.
    func file(_ relation: String) async throws -> String? {
        try await value("select pg_relation_filenode(to_regclass('\(relation)'))::text")
    }
}
