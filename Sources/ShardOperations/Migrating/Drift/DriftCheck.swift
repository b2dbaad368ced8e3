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
            var wanted: [String: ReferenceSchema] = [:]
            var results: [DatabaseDrift] = []
            var suspects: [(index: Int, key: String)] = []
            for (index, look) in looks.enumerated() {
                let (result, reference) = first(look, files[look.target.kind] ?? [])
                results.append(result)
                guard let reference, let fingerprint = look.fingerprint else { continue }
                if look.target.kind == .shard, let shardReference {
                    if fingerprint != shardReference.fingerprint { suspects.append((index, "")) }
                    continue
                }
                let key = reference.key(serverVersion: fleet.serverVersion)
                if fleet.cached.fingerprints[key] == fingerprint { continue }
                wanted[key] = reference
                suspects.append((index, key))
            }
            var snapshots: [String: SchemaSnapshot] = ["": shardReference].compactMapValues(\.self)
            for (key, reference) in wanted {
                snapshots[key] = try await reference.snapshot(
                    catalog, settings: cluster.catalog, deadline: .now + patience)
            }
            let comparisons = suspects.compactMap { suspect -> Comparison? in
                guard let snapshot = snapshots[suspect.key],
                    snapshot.fingerprint != looks[suspect.index].fingerprint
                else { return nil }
                return Comparison(
                    index: suspect.index, target: looks[suspect.index].target, wanted: snapshot)
            }
            let compared = await bounded(comparisons) { await compare($0) }
            for (comparison, outcome) in zip(comparisons, compared) {
                switch outcome {
                case .success(let differences):
                    results[comparison.index].differences = differences
                case .failure(let error): results[comparison.index].problem = "\(error)"
                }
            }
            return results
        }
    }

    /// What the history tells, and the reference to compare with when it can be made.
    private func first(_ look: Look, _ files: [Migration]) -> (DatabaseDrift, ReferenceSchema?) {
        var result = DatabaseDrift(name: look.target.name, kind: look.target.kind)
        result.problem = look.problem
        guard let sight = look.sight else { return (result, nil) }
        result.versions = sight.history.map(\.version).sorted()
        result.pending = files.map(\.version).filter { !result.versions.contains($0) }
        result.history = HistoryDrift.differences(
            kind: look.target.kind, found: sight.history, leftovers: sight.leftovers,
            expected: files)
        let passed = Set(result.history.filter { $0.change == .missing }.map(\.version))
        result.pending.removeAll { passed.contains($0) }
        let known = files.filter {
            result.versions.contains($0.version) || passed.contains($0.version)
        }
        guard result.history.allSatisfy({ $0.change != .extra }) else {
            result.problem =
                result.problem
                ?? "it has migrations that are not in the files, so its schema is not compared"
            return (result, nil)
        }
        return (result, ReferenceSchema(kind: look.target.kind, migrations: known))
    }

    private struct Comparison: Sendable {
        var index: Int
        var target: Target
        var wanted: SchemaSnapshot
    }

    private func compare(
        _ comparison: Comparison
    ) async -> Result<[SchemaDifference], PostgresError> {
        do throws(PostgresError) {
            let connection = try await connect(comparison.target)
            defer { connection.close() }
            let found = try await SchemaSnapshot.read(connection, deadline: .now + patience)
            return .success(
                SchemaDifference.differences(found: found, wanted: comparison.wanted))
        } catch {
            return .failure(error)
        }
    }

    func connect(_ target: Target) async throws(PostgresError) -> PostgresConnection {
        try await .connect(target.settings.findingPrimary, deadline: .now + .seconds(5))
    }

    /// Runs `body` for each of `items`, ``parallel`` of them at a time, and answers in their order.
    func bounded<Item: Sendable, Value: Sendable>(
        _ items: [Item], _ body: @escaping @Sendable (Item) async -> Value
    ) async -> [Value] {
        await withTaskGroup(of: (Int, Value).self) { group in
            var values: [Value?] = Array(repeating: nil, count: items.count)
            var next = 0
            while next < min(max(1, parallel), items.count) {
                let index = next
                group.addTask { (index, await body(items[index])) }
                next += 1
            }
            while let (index, value) = await group.next() {
                values[index] = value
                guard next < items.count else { continue }
                let following = next
                group.addTask { (following, await body(items[following])) }
                next += 1
            }
            return values.compactMap(\.self)
        }
    }
}
