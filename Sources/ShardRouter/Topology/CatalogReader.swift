import FoundationEssentials
public import Postgres

/// Why a catalog cannot be used.
public enum CatalogError: Error, Sendable, Equatable {
    /// The catalog does not answer.
    case unreachable(catalog: String, reason: String)
    /// The database answers, but it holds no catalog, or one that was not initialised.
    case notInitialised(catalog: String)
    /// What the catalog says is impossible.
    case inconsistent(catalog: String, reason: TopologyError)
}

extension CatalogError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unreachable(let catalog, let reason):
            "the catalog (\(catalog)) is out of reach: \(reason)"
        case .notInitialised(let catalog):
            "the database (\(catalog)) holds no catalog"
        case .inconsistent(let catalog, let reason):
            "the catalog (\(catalog)) contradicts itself: \(reason)"
        }
    }
}

/// Reads the topology from the catalog.
public enum CatalogReader {
    /// The topology at one moment: all parts are read in one snapshot.
    public static func topology(
        _ connection: PostgresConnection, name: String, deadline: ContinuousClock.Instant
    ) async throws(CatalogError) -> Topology {
        let answers: [Rows]
        do throws(PostgresError) {
            answers = try await connection.pipeline(
                [
                    Statement("begin isolation level repeatable read read only"),
                    Statement("select id, seed from catalog.cluster"),
                    Statement("select coalesce(max(epoch), 0) from catalog.topology"),
                    Statement("select id, name, endpoint, weight, state from catalog.shards"),
                    Statement(
                        """
                        select array_agg(shard_id order by slot), array_agg(epoch order by slot)
                        from catalog.slots
                        """),
                    Statement("commit"),
                ], deadline: deadline)
        } catch {
            if connection.isInTransaction { connection.close() }
            // An undefined schema or table: some other database.
            if ["3F000", "42P01"].contains(error.sqlState) {
                throw .notInitialised(catalog: name)
            }
            throw .unreachable(catalog: name, reason: "\(error)")
        }
        guard let cluster = answers[1].first else { throw .notInitialised(catalog: name) }
        let parts: Parts
        do throws(PostgresError) {
            parts = try Parts(cluster, answers[2], answers[3], answers[4][0])
        } catch {
            throw .unreachable(catalog: name, reason: "\(error)")
        }
        do throws(TopologyError) {
            return try parts.topology()
        } catch {
            throw .inconsistent(catalog: name, reason: error)
        }
    }
}

/// What the catalog's tables say, before it is known to make sense.
private struct Parts {
    var id: UUID
    var seed: Int64
    var epoch: Int64
    var shards: [Shard] = []
    var owners: [Int32]
    var epochs: [Int64]

    init(_ cluster: Row, _ topology: Rows, _ shardRows: Rows, _ slots: Row) throws(PostgresError) {
        id = try cluster.get("id")
        seed = try cluster.get("seed")
        epoch = try topology[0].get(0)
        owners = try slots.get(0, as: [Int32]?.self) ?? []
        epochs = try slots.get(1, as: [Int64]?.self) ?? []
        for row in shardRows {
            let state: String = try row.get("state")
            guard let state = ShardState(rawValue: state) else {
                throw .decoding(column: "state", reason: "\(state) is no state of a shard")
            }
            shards.append(
                Shard(
                    id: ShardID(try row.get("id")), name: try row.get("name"),
                    endpoint: try row.get("endpoint"), weight: try row.get("weight"),
                    state: state))
        }
    }

    func topology() throws(TopologyError) -> Topology {
        try Topology(
            clusterID: id, seed: seed, epoch: Epoch(epoch), shards: shards,
            owners: owners.map { ShardID(Int($0)) }, slotEpochs: epochs.map { Epoch($0) })
    }
}
