import Postgres
import ShardRouter

/// Brings the catalog and all shards to one schema, or takes them one step back.
///
/// One at a time in the whole fleet, and not while rooms move; both are locks in the catalog. May be
/// stopped anywhere: the same call goes on.
public struct FleetMigration: Sendable {
    /// What became of one database.
    public struct Outcome: Sendable, Equatable {
        public enum State: Sendable, Equatable {
            /// Nothing had to be done.
            case current
            case done
            /// It was not begun, because others failed.
            case pending
            case failed(String)
        }

        public var database: String
        public var state: State
        /// The versions that were applied, or taken back, now.
        public var versions: [Int] = []
    }

    /// What became of all.
    public struct Result: Sendable {
        /// nil when nothing had to be done.
        public var run: Int64?
        public var databases: [Outcome] = []
        /// Why the check of the canary failed.
        public var problem: String?

        public var isComplete: Bool {
            problem == nil
                && databases.allSatisfy { $0.state == .current || $0.state == .done }
        }
    }

    let cluster: Cluster
    let options: FleetOptions
    let tell: @Sendable (MigrationEvent) -> Void

    /// - Parameter tell: called as it goes on, from any thread; must not block.
    public init(
        cluster: Cluster, options: FleetOptions = FleetOptions(),
        tell: @escaping @Sendable (MigrationEvent) -> Void = { _ in }
    ) {
        self.cluster = cluster
        self.options = options
        self.tell = tell
    }

    /// Applies what is missing: the catalog first, then the canary, then the rest.
    ///
    /// - Throws: ``OperationError``: a refusal when nothing was done, a failure of the catalog. What
    ///   fails at a shard is in the result.
    public func up() async throws -> Result {
        try options.validate()
        let files = try FleetFiles(cluster)
        try checkTarget(files)
        return try await alone { catalog in
            // Before the catalog changes: what cannot begin at the shards does not begin at all.
            let topology = try await cluster.topology(
                catalog, deadline: .now + Cluster.patience)
            let databases = try await survey(topology, files, .up)
            try checkFiles(databases, files)
            if !options.acceptsFindings {
                try await FleetLint(
                    cluster: cluster, topology: topology, databases: databases
                ).check()
            }
            let subject = MigrationRunJournal.Subject(
                direction: .up, filesSum: files.sum,
                versions: files.shard.map(\.version).filter { $0 <= options.upTo ?? .max })
            if options.isResuming {
                try await MigrationRunJournal(catalog: catalog).check(isOpen: subject)
            }
            let catalogVersions = try await migrateCatalog(catalog, files)
            var result = Result(databases: [
                Outcome(
                    database: "catalog", state: catalogVersions.isEmpty ? .current : .done,
                    versions: catalogVersions)
            ])
            let fleet = FleetRun(
                migration: self, catalog: catalog, topology: topology, databases: databases,
                direction: .up, files: files.shard)
            try await fleet.run(subject: subject, into: &result)
            return result
        }
    }

    /// Takes back the last version that any shard has.
    ///
    /// - Parameter version: what the caller takes it to be: another one is refused.
    public func down(expecting version: Int) async throws -> Result {
        try options.validate()
        let files = try FleetFiles(cluster)
        return try await alone { catalog in
            let topology = try await cluster.topology(
                catalog, deadline: .now + Cluster.patience)
            let databases = try await survey(topology, files, .down)
            let last = Self.lastVersion(databases)
            guard last == version else {
                throw OperationError.refused(
                    "the last version is \(last.map(String.init) ?? "none"), not \(version)",
                    next: "shardctl migrate status")
            }
            try await checkWayBack(version, files, databases, topology)
            var result = Result()
            let fleet = FleetRun(
                migration: self, catalog: catalog, topology: topology, databases: databases,
                direction: .down, files: files.shard)
            try await fleet.run(
                subject: MigrationRunJournal.Subject(
                    direction: .down, filesSum: files.sum, versions: [version]), into: &result)
            return result
        }
    }

    /// The migration that `down` would take back.
    ///
    /// - Throws: a refusal when the shards have none, or one that is not in the files.
    public func last() async throws -> Migration {
        let files = try FleetFiles(cluster)
        let shards = try await FleetSurvey.take(cluster).shards
        guard let version = Self.lastVersion(shards) else {
            throw OperationError.refused(
                "no shard has a migration", next: "shardctl migrate status")
        }
        guard let last = files.shard.first(where: { $0.version == version }) else {
            throw OperationError.refused(
                "the last migration of the shards, \(version), is not in the files",
                next: "name the folder that holds it with --migrations")
        }
        return last
    }

    private static func lastVersion(_ databases: [FleetSurvey.Database]) -> Int? {
        databases.compactMap { $0.state.history.map(\.version).max() }.max()
    }

    /// What a runner would refuse half-way is refused before it begins.
    private func checkFiles(
        _ databases: [FleetSurvey.Database], _ files: FleetFiles
    ) throws {
        let wanted = Set(databases.flatMap(\.plan.pending).map(\.version))
        for migration in files.shard where wanted.contains(migration.version) {
            try ScriptCheck(script: migration.up).run()
        }
    }

    private func checkWayBack(
        _ version: Int, _ files: FleetFiles, _ databases: [FleetSurvey.Database],
        _ topology: Topology
    ) async throws {
        guard MigrationSeries(of: version) == .application || options.takesLibraryBack else {
            throw OperationError.refused(
                "\(version) is no migration of an application: these programs need it",
                next: "with a release that does not need it: --library")
        }
        guard let migration = files.shard.first(where: { $0.version == version }),
            let down = migration.down, !down.statements.isEmpty
        else {
            throw OperationError.refused(
                "migration \(version) has no way back: its .down.sql is missing or empty",
                next: "write what undoes it into a new migration: shardctl migrate new TITLE")
        }
        try ScriptCheck(script: down).run()
        let having = databases.first { $0.problem == nil && $0.state.versions.contains(version) }
        guard let shard = having?.shard else { return }
        let facts: SchemaFacts = try await cluster.withMember(shard, of: topology) {
            try await .read($0, deadline: .now + Cluster.patience)
        }
        if let first = MigrationLint(facts: facts).findings(inWaysBackOf: [migration]).first {
            throw OperationError.refused(
                "\(first.file), line \(first.line): \(first.what), so rooms could no longer move",
                next: "write before it: select shard.unregister_table('\(first.relation ?? "…")'); "
                    + "then: shardctl migrate new --refresh")
        }
    }

    private func checkTarget(_ files: FleetFiles) throws {
        guard let upTo = options.upTo,
            !(files.shard + files.catalog).contains(where: { $0.version == upTo })
        else { return }
        throw OperationError.refused(
            "there is no migration \(upTo) in the files", next: "shardctl migrate status")
    }

    // MARK: - The catalog

    /// Runs `body` while nobody else migrates and no move is open or opened.
    private func alone<Value>(_ body: (PostgresConnection) async throws -> Value) async throws
        -> Value
    {
        try await cluster.withCatalog { catalog in
            // First: a lock that a pooler's session keeps would be held for ever.
            try await cluster.withCatalog { other in
                try await PoolerCheck(one: catalog, other: other).run(database: "catalog")
            }
            let lock = MigrationLock(
                connection: catalog, key: MoveJournal.migrationLock, limits: options.limits)
            let tell = tell
            try await lock.take(patience: options.limits.patience) {
                tell(MigrationEvent(database: "catalog", what: .waitingForRunner($0)))
            }
            try await MovesRule(patience: options.movesPatience).check(catalog) {
                tell(MigrationEvent(database: "catalog", what: .waitingForMoves($0)))
            }
            return try await body(catalog)
        }
    }

    private func migrateCatalog(
        _ catalog: PostgresConnection, _ files: FleetFiles
    ) async throws -> [Int] {
        var migrator = Migrator(
            kind: .catalog, migrations: files.catalog, database: "catalog")
        migrator.limits = options.limits
        return try await cluster.withCatalog { observer in
            try await migrator.up(
                catalog, observer: observer, upTo: options.upTo, tell: tell)
        }
    }

    // MARK: - The shards

    /// - Throws: a refusal when a history and the files are not of one mind; a failure when more
    ///   shards are away than may fail.
    private func survey(
        _ topology: Topology, _ files: FleetFiles, _ direction: MigrationDirection
    ) async throws -> [FleetSurvey.Database] {
        let databases = await FleetSurvey.shards(
            of: topology, cluster, files.shard, upTo: options.upTo)
        let away = databases.filter { $0.problem != nil }
        if away.count > options.maxFailures {
            throw OperationError.failed(
                "nothing was begun, because \(away.count) of \(databases.count) shards do not "
                    + "answer: "
                    + away.map { "\($0.name): \($0.problem ?? "")" }
                    .joined(separator: "; "),
                next: "shardctl status; --max-failures \(away.count) leaves them for later")
        }
        for database in databases where database.problem == nil {
            var plan = database.plan
            plan.obstacles.removeAll {
                if case .halfwayDown = $0 { direction == .down } else { false }
            }
            try plan.check(database: database.name)
        }
        if let canary = options.canary, !databases.contains(where: { $0.name == canary }) {
            throw OperationError.refused(
                "there is no shard \(canary) to be the canary", next: "shardctl shard list")
        }
        return databases
    }
}
