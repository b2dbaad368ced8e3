public import Foundation
public import Postgres
public import ShardRouter

/// A cluster as its operator sees it: the catalog's connection string and the files.
public struct Cluster: Sendable {
    /// How long one operation may take.
    public static let patience = Duration.seconds(60)
    /// How long the migrations of one database may take: they may rewrite or index big tables.
    public static let migrationPatience = Duration.seconds(4 * 3_600)

    public let catalog: ConnectionSettings
    /// The folder with `catalog/` and `shard/`.
    public let migrations: URL

    public init(catalog: ConnectionSettings, migrations: URL) {
        self.catalog = catalog
        self.migrations = migrations
    }

    /// Who owns what, by the catalog.
    public func topology() async throws -> Topology {
        try await withCatalog { connection in
            do throws(CatalogError) {
                return try await CatalogReader.topology(
                    connection, name: catalog.withoutSecrets, deadline: .now + Self.patience)
            } catch {
                switch error {
                case .notInitialised:
                    throw OperationError.refused("\(error)", next: "shardctl init")
                case .unreachable, .inconsistent:
                    throw OperationError.failed("\(error)", next: "shardctl status")
                }
            }
        }
    }

    /// Runs `body` on a connection to the catalog.
    public func withCatalog<Value>(
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withConnection(catalog, name: "the catalog", body)
    }

    /// Runs `body` on a connection to the database behind `endpoint`, as the catalog's user.
    public func withShard<Value>(
        endpoint: String, name: String, _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try await withConnection(try settings(endpoint: endpoint), name: "shard \(name)", body)
    }

    /// The complete connection of a shard: what the endpoint does not say comes from the catalog's.
    public func settings(endpoint: String) throws -> ConnectionSettings {
        try ConnectionSettings(endpoint, completedBy: catalog)
    }

    private func withConnection<Value>(
        _ settings: ConnectionSettings, name: String,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let connection: PostgresConnection
        do throws(PostgresError) {
            connection = try await .connect(
                settings.findingPrimary, deadline: .now + .seconds(5))
        } catch {
            throw OperationError.failed(
                "\(name) (\(settings.withoutSecrets)) is out of reach: \(error)",
                next: "check that its server runs and that the address is right")
        }
        defer { connection.close() }
        return try await body(connection)
    }

    func migrator(_ kind: SchemaKind) throws -> Migrator {
        let folder = migrations.appending(path: kind.rawValue)
        return Migrator(kind: kind, migrations: try MigrationFiles(folder: folder).load())
    }
}
