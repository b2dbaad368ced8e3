public import Postgres

/// Which of the two schemas a database has.
public enum SchemaKind: String, Sendable {
    case catalog, shard
}

/// Brings one database to the version of its files.
///
/// Each file commits together with its row of the history, so a database is never half-way.
public struct Migrator: Sendable {
    /// An advisory lock of our own: two runs on one database take turns.
    static let lock: Int64 = 0x7368_6172_6463_746c
    /// How often a file is tried whose locks are not free, and the pause after the first time.
    static let attempts = 5
    static let pause = Duration.milliseconds(200)

    public let kind: SchemaKind
    public let migrations: [Migration]

    public init(kind: SchemaKind, migrations: [Migration]) {
        self.kind = kind
        self.migrations = migrations
    }

    /// The versions that `connection`'s database has; empty for a new one.
    ///
    /// - Throws: a refusal when one of them is not what the files say.
    public func applied(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        let history: [(version: Int, checksum: String)]
        do throws(PostgresError) {
            let rows = try await connection.query(
                Statement(
                    "select version, checksum from \(kind.rawValue).migrations order by version",
                    isPrepared: false), deadline: deadline)
            var read: [(Int, String)] = []
            for row in rows { read.append((try row.get(0), try row.get(1))) }
            history = read
        } catch {
            // No such schema or table: nothing was applied yet.
            if ["3F000", "42P01"].contains(error.sqlState) { return [] }
            throw OperationError.failed("cannot read the history of migrations: \(error)")
        }
        for (version, checksum) in history {
            guard let file = migrations.first(where: { $0.version == version }) else {
                throw OperationError.refused(
                    "the database has \(kind.rawValue) migration \(version), which is not in the "
                        + "files", next: "use the files of the newer release")
            }
            guard file.checksum == checksum else {
                throw OperationError.refused(
                    "\(kind.rawValue) migration \(version) (\(file.title)) was edited after it was "
                        + "applied to this database",
                    next: "restore the file, and write the change into a new one: "
                        + "shardctl migrate new TITLE")
            }
        }
        return history.map(\.version)
    }

    /// Applies what is missing.
    ///
    /// - Returns: the versions that were applied now.
    public func up(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        try await takeLock(connection, deadline: deadline)
        let done = try await applied(connection, deadline: deadline)
        var now: [Int] = []
        for migration in migrations where !done.contains(migration.version) {
            guard migration.version > (done.last ?? 0) else {
                throw OperationError.refused(
                    "migration \(migration.version) is older than the last applied one",
                    next: "give it a higher number")
            }
            try await apply(migration, connection, deadline: deadline)
            now.append(migration.version)
        }
        _ = try await connection.query(
            "select pg_advisory_unlock($1)", [Self.lock], deadline: deadline)
        return now
    }

    private func takeLock(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws {
        let limit = min(deadline, .now + Cluster.patience)
        while true {
            let row = try await connection.query(
                "select pg_try_advisory_lock($1)", [Self.lock], deadline: deadline)[0]
            if try row.get(0, as: Bool.self) { return }
            guard ContinuousClock.now + .milliseconds(100) < limit else {
                throw OperationError.failed(
                    "another migration of this database does not end",
                    next: "shardctl migrate status")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Tries again when a lock is not free in time: waiting for it would queue everybody else.
    private func apply(
        _ migration: Migration, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws {
        for attempt in 1... {
            do throws(PostgresError) {
                return try await applyOnce(migration, connection, deadline: deadline)
            } catch {
                guard error.sqlState == "55P03", attempt < Self.attempts else {
                    throw OperationError.failed(
                        "\(kind.rawValue) migration \(migration.version) (\(migration.title)) "
                            + "failed and was rolled back: \(error)",
                        next: "shardctl migrate status")
                }
            }
            try await Task.sleep(for: Self.pause * attempt)
        }
    }

    private func applyOnce(
        _ migration: Migration, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        // The titles and sums are plain by the rules for file names and hexadecimal digits.
        let history = """

            ;insert into \(kind.rawValue).migrations (version, title, checksum, duration_ms)
            values (\(migration.version), '\(migration.title)', '\(migration.checksum)',
                (extract(epoch from clock_timestamp() - now()) * 1000)::bigint);
            commit;
            """
        let lockTimeout = migration.directives.lockTimeoutMilliseconds
        do throws(PostgresError) {
            try await connection.script(
                "begin; set local lock_timeout = \(lockTimeout);\n" + migration.sql + history,
                deadline: deadline)
        } catch {
            if connection.isInTransaction {
                _ = try await connection.query("rollback", deadline: deadline)
            }
            throw error
        }
    }
}
