import Postgres
import ShardRouter

/// Compares the catalog and every shard with what their migrations make.
///
/// Each database is compared with the schema of the versions that it has itself, so one that waits
/// for its next migration has not drifted.
public struct DriftCheck: Sendable {
    public let cluster: Cluster
    /// Connections at one time.
    public var parallel = 16
    /// Computes every fingerprint anew, whatever was seen before.
    public var isThorough = false
    /// What shards are compared with instead of their files: what another shard looks like.
    public var shardReference: SchemaSnapshot?
    /// How long one database may take, and making a reference that is in no cache.
    public var patience = Duration.seconds(60)

    public init(cluster: Cluster) {
        self.cluster = cluster
    }

    /// One database to look at.
    struct Target: Sendable {
        var name: String
        var kind: SchemaKind
        var settings: ConnectionSettings
        /// Of a shard.
        var number: Int?

        /// Under which its sight is remembered.
        var key: String { kind == .catalog ? "catalog" : "shard \(name)" }
    }

    /// What the catalog says about the fleet.
    struct Fleet: Sendable {
        var clusterID: String?
        var targets: [Target]
        var cached: SchemaCache.Contents
        var serverVersion: Int
    }

    /// A database after the first look.
    struct Look: Sendable {
        var target: Target
        var sight: SchemaSight?
        var fingerprint: String?
        var problem: String?
    }

    /// A database after its history was compared with the files.
    private struct Judged: Sendable {
        var look: Look
        var result: DatabaseDrift
        /// What its schema has to be compared with; nil when that is known to be equal, or makes no
        /// sense.
        var reference: ReferenceSchema?
        /// The reference's name in the cache.
        var key = ""
    }

    /// Looks at all of them: the catalog first, then the shards by their numbers.
    ///
    /// - Throws: when the catalog is out of reach or no catalog, when the files are not in order, and
    ///   when a reference cannot be made. What is wrong with a shard is in its result.
    public func run() async throws -> [DatabaseDrift] {
        let files = try [
            SchemaKind.catalog: cluster.migrator(.catalog).migrations,
            .shard: cluster.migrator(.shard).migrations,
        ]
        return try await cluster.withCatalog { catalog in
            let fleet = try await fleet(catalog)
            let looks = await look(fleet)
            try await remember(looks, fleet, catalog)
            let judged = looks.map { judge($0, files[$0.target.kind] ?? [], fleet) }
            let truths = try await truths(for: judged, catalog)
            return await judged.concurrently(atMost: parallel) { await complete($0, truths) }
        }
    }

    private func judge(_ look: Look, _ files: [Migration], _ fleet: Fleet) -> Judged {
        var judged = Judged(
            look: look, result: DatabaseDrift(name: look.target.name, kind: look.target.kind))
        judged.result.problem = look.problem
        guard let sight = look.sight else { return judged }
        let versions = sight.history.map(\.version).sorted()
        let history = HistoryDrift.differences(
            kind: look.target.kind, found: sight.history, leftovers: sight.leftovers,
            expected: files)
        let passed = Set(history.filter { $0.change == .missing }.map(\.version))
        judged.result.versions = versions
        judged.result.history = history
        judged.result.pending = files.map(\.version).filter {
            !versions.contains($0) && !passed.contains($0)
        }
        guard history.allSatisfy({ $0.change != .extra }) else {
            judged.result.problem =
                look.problem
                ?? "it has migrations that are not in the files, so its schema is not compared"
            return judged
        }
        let reference = ReferenceSchema(
            kind: look.target.kind,
            migrations: files.filter {
                versions.contains($0.version) || passed.contains($0.version)
            })
        judged.key = reference.key(serverVersion: fleet.serverVersion)
        let known =
            shardReference(for: look.target)?.fingerprint ?? fleet.cached.fingerprints[judged.key]
        guard look.fingerprint != nil, known != look.fingerprint else { return judged }
        judged.reference = reference
        let (major, catalogMajor) = (sight.serverVersion / 10_000, fleet.serverVersion / 10_000)
        if major != catalogMajor, shardReference(for: look.target) == nil {
            judged.result.problem =
                "it runs PostgreSQL \(major), the catalog \(catalogMajor): they may word the same "
                + "differently, so compare it with another shard of its version"
        }
        return judged
    }

    private func shardReference(for target: Target) -> SchemaSnapshot? {
        target.kind == .shard ? shardReference : nil
    }

    /// The snapshots of the references that are needed, by their names in the cache.
    private func truths(
        for judged: [Judged], _ catalog: PostgresConnection
    ) async throws -> [String: SchemaSnapshot] {
        var truths: [String: SchemaSnapshot] = [:]
        for one in judged where shardReference(for: one.look.target) == nil {
            guard let reference = one.reference, truths[one.key] == nil else { continue }
            truths[one.key] = try await reference.snapshot(
                catalog, settings: cluster.catalog, deadline: .now + patience)
        }
        return truths
    }

    /// Reads the schema itself where it is not known to be as it has to be.
    private func complete(
        _ judged: Judged, _ truths: [String: SchemaSnapshot]
    ) async -> DatabaseDrift {
        var result = judged.result
        guard judged.reference != nil,
            let wanted = shardReference(for: judged.look.target) ?? truths[judged.key],
            wanted.fingerprint != judged.look.fingerprint
        else { return result }
        do throws(PostgresError) {
            let connection = try await connect(judged.look.target)
            defer { connection.close() }
            let found = try await SchemaSnapshot.read(connection, deadline: .now + patience)
            result.differences = SchemaDifference.differences(found: found, wanted: wanted)
            if result.differences.isEmpty, found.fingerprint != wanted.fingerprint {
                result.problem = "its fingerprint differs, but none of its objects does"
            }
        } catch {
            result.problem = "\(error)"
        }
        return result
    }

    func connect(_ target: Target) async throws(PostgresError) -> PostgresConnection {
        try await .connect(target.settings.findingPrimary, deadline: .now + .seconds(5))
    }
}

extension Cluster {
    /// What the shard called `name` looks like.
    ///
    /// - Throws: a refusal when there is none.
    public func snapshot(ofShard name: String) async throws -> SchemaSnapshot {
        let topology = try await topology()
        guard let shard = topology.shard(named: name) else {
            throw OperationError.refused(
                "there is no shard '\(name)'", next: "shardctl shard list")
        }
        return try await withShard(shard, of: topology) {
            try await .read($0, deadline: .now + Self.patience)
        }
    }
}
