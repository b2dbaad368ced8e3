import FoundationEssentials
import Postgres

/// Why a shard cannot be used.
public enum ShardError: Error, Sendable, Equatable {
    /// The server does not answer, or refuses the connection.
    case unreachable(shard: String, reason: String)
    /// Another database answers at the shard's endpoint.
    case wrongIdentity(shard: String, found: String)
    /// The database has no shard schema, or an older one than this program needs.
    case wrongSchema(shard: String, found: Int, needed: Int)
    /// All connections are in use, or the caller was cancelled while it waited for one.
    case busy(shard: String, reason: String)
    /// The router was stopped.
    case closed(shard: String)
}

extension ShardError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unreachable(let shard, let reason):
            "shard \(shard) is out of reach: \(reason)"
        case .wrongIdentity(let shard, let found):
            "the endpoint of shard \(shard) leads to another database: \(found)"
        case .wrongSchema(let shard, let found, let needed):
            "shard \(shard) has schema version \(found), this program needs \(needed): "
                + "run 'shardctl migrate up'"
        case .busy(let shard, let reason):
            "shard \(shard) has no connection to spare: \(reason)"
        case .closed(let shard):
            "the connections to shard \(shard) were closed"
        }
    }

    /// Without the name of the shard.
    var reason: String {
        switch self {
        case .unreachable(_, let reason), .busy(_, let reason): reason
        case .wrongIdentity, .wrongSchema, .closed: description
        }
    }
}

/// Opens connections to a shard and makes sure that it is the right database.
struct ShardConnector: Sendable {
    /// The version of `migrations/shard` that this program's statements need.
    static let neededSchema = 8
    let shard: Shard
    let clusterID: UUID
    let catalog: ConnectionSettings

    /// - Throws: ``ShardError``; then nothing is left open.
    func connect(deadline: ContinuousClock.Instant) async throws(ShardError) -> PostgresConnection {
        let connection: PostgresConnection
        do throws(PostgresError) {
            let settings = try ConnectionSettings(shard.endpoint, completedBy: catalog)
            connection = try await PostgresConnection.connect(
                settings.findingPrimary, deadline: deadline)
        } catch {
            throw unreachable(error)
        }
        do {
            try await verify(connection, deadline: deadline)
            return connection
        } catch {
            connection.close()
            throw error
        }
    }

    private func verify(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(ShardError) {
        let identity: (cluster: UUID, number: Int)?
        let version: Int
        do throws(PostgresError) {
            let answers = try await connection.pipeline(
                [
                    Statement("select cluster_id, shard_id from shard.identity"),
                    // Applications number theirs from 1001.
                    Statement(
                        """
                        select coalesce(max(version), 0) from shard.migrations
                        where version < 1000
                        """),
                ], deadline: deadline)
            if let row = answers[0].first {
                identity = (try row.get(0), try row.get(1))
            } else {
                identity = nil
            }
            version = try answers[1][0].get(0)
        } catch {
            switch error.sqlState {
            case "3F000", "42P01":  // No such schema or table.
                throw .wrongIdentity(shard: shard.name, found: "it is no shard")
            default: throw unreachable(error)
            }
        }
        guard let identity else {
            throw .wrongIdentity(shard: shard.name, found: "it has no identity")
        }
        guard identity == (clusterID, shard.id.number) else {
            throw .wrongIdentity(
                shard: shard.name,
                found: "shard number \(identity.number) of cluster "
                    + identity.cluster.uuidString.lowercased())
        }
        guard version >= Self.neededSchema else {
            throw .wrongSchema(shard: shard.name, found: version, needed: Self.neededSchema)
        }
    }

    private func unreachable(_ error: PostgresError) -> ShardError {
        .unreachable(shard: shard.name, reason: "\(error)")
    }
}
