import Postgres
import ShardRouter

/// Adopts a database that had its tables before: writes versions into its history without running
/// them, after a look at whether it has what they make.
public struct Baseline: Sendable {
    /// Which database.
    public enum Place: Sendable, Equatable {
        case shard(String)
        /// One that is to become a shard.
        case endpoint(String)
    }

    public struct Outcome: Sendable {
        /// The versions that are in the history now and were not before.
        public var versions: [Int]
        /// What is not as the files would have made it: what was accepted, and tables that are to be
        /// registered yet.
        public var differences: [SchemaDifference]
    }

    let cluster: Cluster
    let place: Place
    /// The last version that is taken as done; the earlier ones of its series are, too.
    let upTo: Int
    /// Whether differences are accepted.
    let acceptsDifferences: Bool

    public init(cluster: Cluster, place: Place, upTo: Int, acceptsDifferences: Bool = false) {
        self.cluster = cluster
        self.place = place
        self.upTo = upTo
        self.acceptsDifferences = acceptsDifferences
    }

    /// - Throws: ``OperationError``; then nothing was written.
    public func run() async throws -> Outcome {
        let files = try FleetFiles(cluster).shard
        guard files.contains(where: { $0.version == upTo }) else {
            throw OperationError.refused(
                "there is no migration \(upTo) in the files", next: "shardctl migrate status")
        }
        return try await cluster.withCatalog { catalog in
            let limits = MigrationLimits()
            let lock = MigrationLock(
                connection: catalog, key: MoveJournal.migrationLock, limits: limits)
            try await lock.take(patience: limits.patience) { _ in }
            return try await withDatabase(catalog) { connection in
                try await adopt(connection, catalog, files)
            }
        }
    }

    private func withDatabase<Value>(
        _ catalog: PostgresConnection, _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        switch place {
        case .endpoint(let endpoint):
            try ShardAdding.check(endpoint: endpoint)
            return try await cluster.withShard(endpoint: endpoint, name: "the database", body)
        case .shard(let name):
            let topology = try await cluster.topology(
                catalog, deadline: .now + Cluster.patience)
            guard let shard = topology.shard(named: name) else {
                throw OperationError.refused(
                    "there is no shard '\(name)'", next: "shardctl shard list")
            }
            return try await cluster.withMember(shard, of: topology, body)
        }
    }

    private func adopt(
        _ connection: PostgresConnection, _ catalog: PostgresConnection, _ files: [Migration]
    ) async throws -> Outcome {
        let state = try await Migrator(kind: .shard, migrations: files)
            .state(connection, deadline: .now + Cluster.patience)
        let series = MigrationSeries(of: upTo)
        let wanted = files.filter {
            MigrationSeries(of: $0.version) == series && $0.version <= upTo
                && !state.versions.contains($0.version)
        }
        guard !wanted.isEmpty else {
            throw OperationError.refused(
                "its history has all versions up to \(upTo) already",
                next: "shardctl migrate status")
        }
        let differences = try await differences(connection, catalog, files, series)
        // A database that is no shard yet cannot have registered a table.
        let blocking = differences.filter { $0.object.kind != .registration }
        guard blocking.isEmpty || acceptsDifferences else {
            let list = blocking.map { "\n  \($0.words)" }.joined()
            throw OperationError.refused(
                "the database is not what migrations up to \(upTo) would have made:\(list)",
                next: "mend it, choose another --to, or repeat with --accept-differences")
        }
        try await write(wanted, connection)
        return Outcome(versions: wanted.map(\.version), differences: differences)
    }

    /// What the files make, and the database has not, or has in another form. What it has besides
    /// is nobody's business here.
    private func differences(
        _ connection: PostgresConnection, _ catalog: PostgresConnection, _ files: [Migration],
        _ series: MigrationSeries
    ) async throws -> [SchemaDifference] {
        let found = try await SchemaSnapshot.read(connection, deadline: .now + Cluster.patience)
        let library = files.filter { MigrationSeries(of: $0.version) == .library }
        let upToHere =
            (series == .library ? [] : library)
            + files.filter { MigrationSeries(of: $0.version) == series && $0.version <= upTo }
        var wanted = try await snapshot(upToHere, catalog)
        if series == .application {
            // What the library's own files make, these will make.
            let own = Set(try await snapshot(library, catalog).objects)
            wanted = SchemaSnapshot(
                objects: wanted.objects.filter { !own.contains($0) }, owner: wanted.owner)
        }
        return SchemaDifference.differences(found: found, wanted: wanted)
            .filter { $0.change != .extra }
    }

    private func snapshot(
        _ files: [Migration], _ catalog: PostgresConnection
    ) async throws -> SchemaSnapshot {
        try await ReferenceSchema(kind: .shard, migrations: files).snapshot(
            catalog, settings: cluster.catalog, deadline: .now + Cluster.migrationPatience)
    }

    /// The history is there before the file that makes it, if need be.
    private func write(_ files: [Migration], _ connection: PostgresConnection) async throws {
        let rows = files.map {
            "(\($0.version), '\($0.title)', '\($0.checksum)', 0, 'baseline')"
        }.joined(separator: ", ")
        do throws(PostgresError) {
            try await connection.script(
                """
                begin;
                create schema if not exists shard;
                create table if not exists shard.migrations (
                    version integer primary key, title text not null, checksum text not null,
                    applied_at timestamptz not null default now(), duration_ms bigint not null);
                alter table shard.migrations add column if not exists origin text not null
                    default 'applied' check (origin in ('applied', 'baseline', 'repaired'));
                insert into shard.migrations (version, title, checksum, duration_ms, origin)
                values \(rows);
                commit
                """, deadline: .now + Cluster.patience)
        } catch {
            throw OperationError.failed("the history cannot be written: \(error)")
        }
    }
}

extension SchemaDifference {
    /// Such as `index notes_body on public.notes is missing`.
    public var words: String {
        switch change {
        case .missing: "\(object) is missing"
        case .extra: "\(object) is not in the files"
        case .changed(let old, let new): "\(object) is: \(old); the files say: \(new)"
        }
    }
}
