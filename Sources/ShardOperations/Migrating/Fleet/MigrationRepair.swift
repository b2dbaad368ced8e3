import Postgres
import ShardRouter

/// Settles what no program can decide: a human has looked at the database, and says what is true.
///
/// Changes the history and the journal of one database, and nothing else in it.
public struct MigrationRepair: Sendable {
    public enum Decision: Sendable, Equatable {
        /// The statement whose end nobody saw has run.
        case stepIsDone(version: Int, step: Int)
        /// It has not, or what it left is gone: it is to run again.
        case stepRunsAgain(version: Int, step: Int)
        /// The history has it and the files have not: it is forgotten. The same for statements in
        /// the journal whose file is gone.
        case forget(version: Int)
        /// The database is as the file says, although another text was applied, or none: from now on
        /// the history has the file.
        case accept(version: Int)
    }

    let cluster: Cluster
    /// A shard's name, or `catalog`.
    let database: String
    let limits: MigrationLimits

    public init(cluster: Cluster, database: String, limits: MigrationLimits = MigrationLimits()) {
        self.cluster = cluster
        self.database = database
        self.limits = limits
    }

    /// - Returns: what was changed, in words.
    /// - Throws: a refusal of what makes no sense; then nothing was changed.
    public func run(_ decision: Decision) async throws -> String {
        let files = try FleetFiles(cluster)
        return try await cluster.withCatalog { catalog in
            let lock = MigrationLock(
                connection: catalog, key: MoveJournal.migrationLock, limits: limits)
            try await lock.take(patience: limits.patience) { _ in }
            guard database != "catalog" else {
                return try await settle(decision, catalog, .catalog, files.catalog)
            }
            let topology = try await cluster.topology(
                catalog, deadline: .now + Cluster.patience)
            guard let shard = topology.shard(named: database) else {
                throw OperationError.refused(
                    "there is no shard '\(database)'", next: "shardctl shard list")
            }
            return try await cluster.withMember(shard, of: topology) { connection in
                try await settle(decision, connection, .shard, files.shard)
            }
        }
    }

    private func settle(
        _ decision: Decision, _ connection: PostgresConnection, _ kind: SchemaKind,
        _ files: [Migration]
    ) async throws -> String {
        let state = try await Migrator(kind: kind, migrations: files, database: database)
            .state(connection, deadline: .now + Cluster.patience)
        let change: (sql: String, words: String)
        switch decision {
        case .stepIsDone(let version, let number):
            let step = try step(version, number, state)
            change = (
                """
                update \(kind.rawValue).migration_steps
                set state = 'done', done_at = clock_timestamp() where \(place(step))
                """, "statement \(number) of migration \(version) counts as done"
            )
        case .stepRunsAgain(let version, let number):
            let step = try step(version, number, state)
            change = (
                "delete from \(kind.rawValue).migration_steps where \(place(step))",
                "statement \(number) of migration \(version) will run again"
            )
        case .forget(let version):
            change = try forgetting(version, state, kind, files)
        case .accept(let version):
            change = try accepting(version, state, kind, files)
        }
        do throws(PostgresError) {
            try await connection.script(
                "begin; \(change.sql); commit", deadline: .now + Cluster.patience)
        } catch {
            throw OperationError.failed("\(database): \(error)", next: "shardctl migrate status")
        }
        return "\(database): \(change.words)"
    }

    private func step(
        _ version: Int, _ number: Int, _ state: MigrationState
    ) throws -> MigrationState.Step {
        guard let step = state.steps.first(where: { $0.version == version && $0.number == number })
        else {
            throw refused("its journal has no statement \(number) of migration \(version)")
        }
        return step
    }

    private func place(_ step: MigrationState.Step) -> String {
        "version = \(step.version) and step = \(step.number) "
            + "and direction = '\(step.direction.rawValue)'"
    }

    private func forgetting(
        _ version: Int, _ state: MigrationState, _ kind: SchemaKind, _ files: [Migration]
    ) throws -> (String, String) {
        let plan = MigrationPlan(files: files, state: state)
        let isForgettable = plan.obstacles.contains { obstacle in
            switch obstacle {
            case .notInFiles, .strayStep, .editedHalfway: obstacle.version == version
            case .edited, .late, .halfwayDown, .unseen: false
            }
        }
        guard isForgettable else {
            throw refused(
                "there is nothing to forget about migration \(version)",
                next: state.versions.contains(version)
                    ? "shardctl migrate down takes a migration back" : "shardctl migrate status")
        }
        let isUnknown = !files.contains { $0.version == version }
        let steps = "delete from \(kind.rawValue).migration_steps where version = \(version)"
        let row = "delete from \(kind.rawValue).migrations where version = \(version)"
        return (
            isUnknown ? "\(steps); \(row)" : steps,
            "migration \(version) is forgotten; what it did to the tables stays"
        )
    }

    private func accepting(
        _ version: Int, _ state: MigrationState, _ kind: SchemaKind, _ files: [Migration]
    ) throws -> (String, String) {
        guard let file = files.first(where: { $0.version == version }) else {
            throw refused("migration \(version) is not in the files")
        }
        let plan = MigrationPlan(files: files, state: state)
        let isAcceptable = plan.obstacles.contains { obstacle in
            switch obstacle {
            case .edited, .late: obstacle.version == version
            case .notInFiles, .strayStep, .editedHalfway, .halfwayDown, .unseen: false
            }
        }
        guard isAcceptable else {
            throw refused(
                "there is nothing to accept about migration \(version)",
                next: state.versions.contains(version)
                    ? "shardctl migrate status"
                    : "shardctl migrate up applies it; shardctl migrate baseline takes it as done")
        }
        return (
            """
            insert into \(kind.rawValue).migrations (version, title, checksum, duration_ms, origin)
            values (\(version), '\(file.title)', '\(file.checksum)', 0, 'repaired')
            on conflict (version) do update
            set title = excluded.title, checksum = excluded.checksum, origin = excluded.origin
            """, "its history has migration \(file.name) as it is in the files"
        )
    }

    private func refused(
        _ why: String, next: String = "shardctl migrate repair"
    ) -> OperationError {
        .refused("\(database): \(why)", next: next)
    }
}
