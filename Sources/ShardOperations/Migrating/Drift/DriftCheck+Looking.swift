import FoundationEssentials
import Postgres
import ShardRouter

extension DriftCheck {
    /// The shards, the cache and the server's version, in one round trip.
    func fleet(_ catalog: PostgresConnection) async throws -> Fleet {
        let statements = [
            Statement(
                """
                select id::int8, name, endpoint from catalog.shards where state <> 'retired'
                order by id
                """, isPrepared: false),
            Statement(
                """
                select current_setting('server_version_num')::int8,
                    (select id::text from catalog.cluster)
                """, isPrepared: false),
        ]
        var answers: [Rows] = []
        var cached = SchemaCache.Contents()
        let deadline = ContinuousClock.now + Cluster.patience
        do throws(PostgresError) {
            answers = try await catalog.pipeline(
                statements + [SchemaCache.contents], deadline: deadline)
            cached = try SchemaCache.contents(answers[2])
        } catch {
            guard ["42P01", "3F000"].contains(error.sqlState) else { throw error }
            answers = try await withoutCache(catalog, statements, deadline: deadline)
        }
        var targets = [Target(name: "catalog", kind: .catalog, settings: cluster.catalog)]
        for row in answers[0] {
            targets.append(
                Target(
                    name: try row.get(1), kind: .shard,
                    settings: try cluster.settings(endpoint: try row.get(2)),
                    number: try row.get(0)))
        }
        return Fleet(
            clusterID: try answers[1][0].get(1), targets: targets, cached: cached,
            serverVersion: try answers[1][0].get(0))
    }

    /// A catalog from before the cache, or no catalog at all.
    private func withoutCache(
        _ catalog: PostgresConnection, _ statements: [Statement],
        deadline: ContinuousClock.Instant
    ) async throws -> [Rows] {
        do throws(PostgresError) {
            return try await catalog.pipeline(statements, deadline: deadline)
        } catch {
            guard ["42P01", "3F000"].contains(error.sqlState) else { throw error }
            throw OperationError.refused(
                "the database \(cluster.catalog.withoutSecrets) is no catalog",
                next: "shardctl init")
        }
    }

    /// The first look at all databases.
    func look(_ fleet: Fleet) async -> [Look] {
        await fleet.targets.concurrently(atMost: parallel) { await look($0, fleet) }
    }

    private func look(_ target: Target, _ fleet: Fleet) async -> Look {
        var look = Look(target: target)
        do throws(PostgresError) {
            let connection = try await connect(target)
            defer { connection.close() }
            let sight = try await SchemaSight.read(
                target.kind, connection, deadline: .now + patience)
            if let wrong = difference(sight, target, fleet) {
                look.problem = "the endpoint leads to another database: it is \(wrong)"
                return look
            }
            look.sight = sight
            if !isThorough, let known = fleet.cached.sights[target.key],
                known.state == sight.state
            {
                look.fingerprint = known.fingerprint
            } else {
                look.fingerprint = try await SchemaSnapshot.fingerprint(
                    connection, deadline: .now + patience)
            }
        } catch {
            look.problem =
                ["42P01", "3F000"].contains(error.sqlState)
                ? "it is no \(target.kind.rawValue): it has no history of migrations" : "\(error)"
        }
        return look
    }

    private func difference(_ sight: SchemaSight, _ target: Target, _ fleet: Fleet) -> String? {
        guard target.kind == .shard else { return nil }
        guard let clusterID = sight.clusterID, let number = sight.shardID else {
            return "a shard without identity"
        }
        guard clusterID.uuidString.lowercased() == fleet.clusterID else {
            return "a shard of cluster \(clusterID.uuidString.lowercased())"
        }
        return number == target.number ? nil : "shard number \(number) of this cluster"
    }

    /// Writes down what was seen for the first time, so that the next check is quick.
    func remember(
        _ looks: [Look], _ fleet: Fleet, _ catalog: PostgresConnection
    ) async throws {
        var sights: [String: SchemaCache.Sight] = [:]
        for look in looks {
            guard let state = look.sight?.state, let fingerprint = look.fingerprint else {
                continue
            }
            let sight = SchemaCache.Sight(state: state, fingerprint: fingerprint)
            if fleet.cached.sights[look.target.key] != sight { sights[look.target.key] = sight }
        }
        try await SchemaCache(catalog: catalog, deadline: .now + Cluster.patience).store(sights)
    }
}
