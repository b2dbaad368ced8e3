import FoundationEssentials
import Postgres

/// A database that lives for one look at what files make.
struct ScratchDatabase {
    private static let prefix = "shardctl_reference_"
    /// A run does not take this long; what is older was left behind by one that was killed.
    private static let lifetime = 3_600

    /// Makes one beside the database of `owner`, lends it to `body`, and drops it, whatever happens.
    ///
    /// - Throws: a refusal when the role may not create databases.
    static func run<Value: Sendable>(
        beside owner: PostgresConnection, _ settings: ConnectionSettings,
        deadline: ContinuousClock.Instant,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await sweep(owner, deadline: deadline)
        let name = try await create(owner, deadline: deadline)
        let outcome: Result<Value, any Error>
        do {
            var own = settings.findingPrimary
            own["dbname"] = name
            let connection = try await PostgresConnection.connect(own, deadline: deadline)
            defer { connection.close() }
            outcome = .success(try await body(connection))
        } catch {
            outcome = .failure(error)
        }
        // A task of its own, waited for: a cancelled one could not ask the server any more.
        let drop = Task {
            try await owner.script(
                "drop database if exists \(name) with (force)", deadline: .now + .seconds(20))
        }
        let dropped = await drop.result
        let value = try outcome.get()
        try dropped.get()
        return value
    }

    private static func create(
        _ owner: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> String {
        let random = UInt32.random(in: .min ... .max)
        let row = try await owner.query(
            """
            select format('%s%s_%s', $1, extract(epoch from now())::int8, $2),
                format('template template0 encoding %L lc_collate %L lc_ctype %L',
                    pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
            from pg_database d where d.datname = current_database()
            """, [prefix, String(random, radix: 16)], deadline: deadline)[0]
        let name: String = try row.get(0)
        do throws(PostgresError) {
            try await owner.script(
                "create database \(name) \(try row.get(1, as: String.self))", deadline: deadline)
        } catch {
            guard error.sqlState == "42501" else {
                throw OperationError.failed(
                    "no scratch database to look at what the files make: \(error)")
            }
            throw OperationError.refused(
                "what the files make is looked at in a scratch database, and the role may not "
                    + "create one on the catalog's server",
                next: "shardctl migrate verify --against SHARD, or: alter role … createdb")
        }
        return name
    }

    /// Drops what killed runs left behind.
    private static func sweep(
        _ owner: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws {
        let rows = try await owner.query(
            """
            select quote_ident(d.datname) from pg_database d
            where d.datname ~ ('^' || $1 || '[0-9]{1,12}_[0-9a-f]+$')
                and split_part(substr(d.datname, length($1) + 1), '_', 1)::int8
                    < extract(epoch from now()) - $2
                and pg_has_role(d.datdba, 'member')
                and not exists (select from pg_stat_activity a where a.datid = d.oid)
            """, [prefix, Self.lifetime], deadline: deadline)
        for row in rows {
            let name: String = try row.get(0)
            do throws(PostgresError) {
                try await owner.script("drop database if exists \(name)", deadline: deadline)
            } catch {
                // Another run was quicker, or somebody is looking at it.
                guard ["55006", "3D000"].contains(error.sqlState) else { throw error }
            }
        }
    }
}
