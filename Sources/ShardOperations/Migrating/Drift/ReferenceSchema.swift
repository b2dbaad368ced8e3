import Crypto
import FoundationEssentials
public import Postgres

/// What a database looks like that has exactly these migrations: the truth that others are compared
/// with.
public struct ReferenceSchema: Sendable {
    public let kind: SchemaKind
    public let migrations: [Migration]

    public init(kind: SchemaKind, migrations: [Migration]) {
        self.kind = kind
        self.migrations = migrations
    }

    /// The snapshot, from the catalog's cache or from a scratch database on its server, where the
    /// files are applied.
    ///
    /// - Parameters:
    ///   - catalog: a connection to the catalog, for the cache and for CREATE DATABASE.
    ///   - settings: how to reach the same server.
    /// - Throws: a refusal when the role may not create databases; what a file throws. The scratch
    ///   database is dropped in any case; if this program is killed, by the next one after an hour.
    public func snapshot(
        _ catalog: PostgresConnection, settings: ConnectionSettings,
        deadline: ContinuousClock.Instant
    ) async throws -> SchemaSnapshot {
        let cache = SchemaCache(catalog: catalog, deadline: deadline)
        let key = try await key(catalog, deadline: deadline)
        if let known = try await cache.snapshot(key) { return known }
        let made = try await ScratchDatabase.run(beside: catalog, settings, deadline: deadline) {
            connection in
            _ = try await Migrator(kind: kind, migrations: migrations)
                .up(connection)
            return try await SchemaSnapshot.read(connection, deadline: deadline)
        }
        try await cache.store(made, key)
        return made
    }

    /// Names the files, the server that applies them, and the form of the snapshot.
    func key(serverVersion: Int) -> String {
        let files = migrations.map { "\($0.version):\($0.checksum)\n" }.joined()
        let sum = SHA256.hash(data: Data(files.utf8)).hexadecimal
        return "\(kind.rawValue) \(sum) PostgreSQL \(serverVersion / 10_000) \(SchemaQuery.format)"
    }

    private func key(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> String {
        let version: Int = try await catalog.query(
            "select current_setting('server_version_num')::int8", deadline: deadline)[0].get(0)
        return key(serverVersion: version)
    }
}
