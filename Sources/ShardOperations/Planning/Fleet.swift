import Postgres
import ShardRouter

/// What a new shard has to fit to: the shards that are there already.
struct Fleet: Sendable {
    /// Whether any shard holds rooms: then slots change their shard by moves only.
    var storesRooms = false
    /// The versions that each has; several sets while a migration is under way.
    var schemas: Set<[Int]> = []
    var collations: Set<String> = []

    /// Asks all shards that are active or draining, all at once.
    ///
    /// - Throws: when one is away and none of the others holds rooms: then nobody knows.
    static func survey(
        _ cluster: Cluster, _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws -> Fleet {
        let shards = topology.shards.filter { $0.state == .active || $0.state == .draining }
        let answers = await withTaskGroup(of: Result<Fleet, any Error>.self) { group in
            for shard in shards {
                group.addTask {
                    do {
                        return .success(try await ask(shard, cluster, topology, deadline))
                    } catch {
                        return .failure(error)
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        var fleet = Fleet()
        var failure: (any Error)?
        for answer in answers {
            switch answer {
            case .success(let one):
                fleet.storesRooms = fleet.storesRooms || one.storesRooms
                fleet.schemas.formUnion(one.schemas)
                fleet.collations.formUnion(one.collations)
            case .failure(let error):
                failure = error
            }
        }
        if let failure, !fleet.storesRooms { throw failure }
        return fleet
    }

    private static func ask(
        _ shard: Shard, _ cluster: Cluster, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws -> Fleet {
        try await cluster.withShard(shard, of: topology) { connection in
            let row = try await connection.query(
                """
                select exists (select from public.rooms),
                    (select coalesce(array_agg(version::int8 order by version), '{}')
                     from shard.migrations)
                """, deadline: deadline)[0]
            let facts = try await ServerFacts.read(
                connection, seed: topology.seed, deadline: deadline)
            return Fleet(
                storesRooms: try row.get(0), schemas: [try row.get(1)],
                collations: [facts.collation])
        }
    }

    /// What brings a new shard to the schema of the others; to the files' when there are none.
    func migrator(_ cluster: Cluster) throws -> Migrator {
        let migrator = try cluster.migrator(.shard)
        guard let schema = schemas.first else { return migrator }
        guard schemas.count == 1 else {
            throw OperationError.refused(
                "the shards have different schemas: "
                    + schemas.map { String($0.last ?? 0) }.sorted().joined(separator: ", "),
                next: "shardctl migrate up")
        }
        if let newer = schema.first(where: { version in
            !migrator.migrations.contains { $0.version == version }
        }) {
            throw OperationError.refused(
                "the shards have migration \(newer), which is newer than the files",
                next: "use the files of the newer release")
        }
        return Migrator(
            kind: .shard, migrations: migrator.migrations.filter { schema.contains($0.version) })
    }
}
