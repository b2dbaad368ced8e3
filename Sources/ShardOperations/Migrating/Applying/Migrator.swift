public import Postgres

/// Which of the two schemas a database has.
public enum SchemaKind: String, Sendable {
    case catalog, shard
}

/// Brings one database to the version of its files, or one step back.
///
/// Safe to call from several programs at once: they take turns, and what one has done the next finds
/// done. Safe to stop anywhere.
public struct Migrator: Sendable {
    /// An advisory lock of our own: two runs on one database take turns.
    static let lock: Int64 = 0x7368_6172_6463_746c

    public let kind: SchemaKind
    public let migrations: [Migration]
    /// How the database is called in events and errors.
    public var database: String
    public var limits = MigrationLimits()

    public init(kind: SchemaKind, migrations: [Migration], database: String? = nil) {
        self.kind = kind
        self.migrations = migrations
        self.database = database ?? "the \(kind.rawValue)"
    }

    /// The versions that `connection`'s database has; empty for a new one.
    ///
    /// - Throws: a refusal when one of them is not what the files say.
    public func applied(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        let state = try await state(connection, deadline: deadline)
        try MigrationPlan(files: migrations, state: state).check(database: database)
        return state.history.map(\.version)
    }

    /// What the database says about its migrations.
    public func state(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> MigrationState {
        do throws(PostgresError) {
            return try await .read(connection, kind: kind, deadline: deadline)
        } catch {
            throw OperationError.failed(
                "\(database): cannot read the history of migrations: \(error)")
        }
    }

    /// Applies what is missing.
    ///
    /// - Parameters:
    ///   - observer: a second connection to the same database, which tells for whom a statement
    ///     waits, and finds out whether a pooler stands in the way. Without it nobody knows.
    ///   - upTo: the last version wanted; nil is all.
    ///   - tell: called as it goes on, from any thread; must not block.
    /// - Returns: the versions that were applied now.
    /// - Throws: ``OperationError``. What was applied before stays, and the next call goes on.
    public func up(
        _ connection: PostgresConnection, observer: PostgresConnection? = nil, upTo: Int? = nil,
        tell: @escaping @Sendable (MigrationEvent) -> Void = { _ in }
    ) async throws -> [Int] {
        try await run(connection, observer, tell) { runner in
            let state = try await state(connection, deadline: .now + Cluster.patience)
            let plan = MigrationPlan(files: migrations, state: state, upTo: upTo)
            try plan.check(database: database)
            for migration in plan.pending {
                let steps = state.steps.filter { $0.version == migration.version }
                try await runner.run(migration, .up, steps: steps)
            }
            return plan.pending.map(\.version)
        }
    }

    /// Takes back `version`; does nothing when the database has not got it.
    ///
    /// - Returns: whether it was taken back now.
    /// - Throws: ``OperationError``; a refusal when there is no file for the way back.
    public func down(
        _ version: Int, _ connection: PostgresConnection, observer: PostgresConnection? = nil,
        tell: @escaping @Sendable (MigrationEvent) -> Void = { _ in }
    ) async throws -> Bool {
        try await run(connection, observer, tell) { runner in
            let state = try await state(connection, deadline: .now + Cluster.patience)
            var plan = MigrationPlan(files: migrations, state: state)
            plan.obstacles.removeAll { obstacle in
                if case .halfwayDown = obstacle { obstacle.version == version } else { false }
            }
            try plan.check(database: database)
            guard state.versions.contains(version) else { return [] }
            if let last = state.versions.max(), last > version {
                throw OperationError.refused(
                    "\(database): migration \(version) cannot be taken back: \(last) came after it",
                    next: "shardctl migrate down, which takes the last one")
            }
            guard let migration = migrations.first(where: { $0.version == version }),
                let down = migration.down, !down.statements.isEmpty
            else {
                throw OperationError.refused(
                    "migration \(version) has no way back: its .down.sql is missing or empty",
                    next: "write what undoes it into a new migration: shardctl migrate new TITLE")
            }
            let steps = state.steps.filter { $0.version == version }
            try await runner.run(migration, .down, steps: steps)
            return [version]
        } == [version]
    }

    /// Holds the lock of the database around `body`.
    private func run(
        _ connection: PostgresConnection, _ observer: PostgresConnection?,
        _ tell: @escaping @Sendable (MigrationEvent) -> Void,
        _ body: (MigrationRunner) async throws -> [Int]
    ) async throws -> [Int] {
        let database = database
        let say: @Sendable (MigrationEvent.What) -> Void = {
            tell(MigrationEvent(database: database, what: $0))
        }
        var watch: LockWatch?
        if let observer {
            try await PoolerCheck(one: connection, other: observer).run(database: database)
            let pid: Int = try await connection.query(
                "select pg_backend_pid()", deadline: .now + Cluster.patience)[0].get(0)
            watch = LockWatch(observer: observer, watched: pid, limits: limits)
        }
        let runner = MigrationRunner(
            kind: kind, database: database, connection: connection, watch: watch, limits: limits,
            tell: say)
        let lock = MigrationLock(connection: connection, key: Self.lock, limits: limits)
        try await lock.take(patience: limits.patience) { say(.waitingForRunner($0)) }
        do {
            try await runner.prepareSession()
            let versions = try await body(runner)
            try await lock.release()
            say(.finished(applied: versions))
            return versions
        } catch {
            if connection.isUsable { try await lock.release() }
            throw error
        }
    }
}
