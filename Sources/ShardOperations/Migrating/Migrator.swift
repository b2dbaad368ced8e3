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

    public let kind: SchemaKind
    public let migrations: [Migration]

    public init(kind: SchemaKind, migrations: [Migration]) {
        self.kind = kind
        self.migrations = migrations
    }

    /// The versions that `connection`'s database has; empty for a new one.
    public func applied(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        do throws(PostgresError) {
            let rows = try await connection.query(
                Statement(
                    "select version, checksum from \(kind.rawValue).migrations order by version",
                    isPrepared: false), deadline: deadline)
            var versions: [Int] = []
            for row in rows { versions.append(try row.get(0)) }
            return versions
        } catch {
            // No such schema or table: nothing was applied yet.
            if ["3F000", "42P01"].contains(error.sqlState) { return [] }
            throw OperationError.failed("cannot read the history of migrations: \(error)")
        }
    }

    /// Applies what is missing.
    ///
    /// - Returns: the versions that were applied now.
    public func up(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        try await takeLock(connection, deadline: deadline)
        let done = try await applied(connection, deadline: deadline)
        if let unknown = done.first(where: { version in
            !migrations.contains { $0.version == version }
        }) {
            throw OperationError.refused(
                "the database has \(kind.rawValue) migration \(unknown), which is not in the files",
                next: "use the files of the newer release")
        }
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
        while true {
            let row = try await connection.query(
                "select pg_try_advisory_lock($1)", [Self.lock], deadline: deadline)[0]
            if try row.get(0, as: Bool.self) { return }
            guard ContinuousClock.now + .milliseconds(100) < deadline else {
                throw OperationError.failed("another migration of this database does not end")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func apply(
        _ migration: Migration, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws {
        // The titles and sums are plain by the rules for file names and hexadecimal digits.
        let history = """

            ;insert into \(kind.rawValue).migrations (version, title, checksum, duration_ms)
            values (\(migration.version), '\(migration.title)', '\(migration.checksum)',
                (extract(epoch from clock_timestamp() - now()) * 1000)::bigint);
            commit;
            """
        do throws(PostgresError) {
            try await connection.script(
                "begin; set local lock_timeout = '2s';\n" + migration.sql + history,
                deadline: deadline)
        } catch {
            if connection.isInTransaction {
                _ = try await connection.query("rollback", deadline: deadline)
            }
            throw OperationError.failed(
                "\(kind.rawValue) migration \(migration.version) (\(migration.title)) failed and "
                    + "was rolled back: \(error)", next: "shardctl migrate status")
        }
    }
}
