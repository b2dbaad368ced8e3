import Postgres
import ShardRouter
import Synchronization

/// Carries out what ``FleetProgress`` decides, and writes it into the catalog's journal.
struct FleetRun: Sendable {
    let migration: FleetMigration
    let catalog: PostgresConnection
    let topology: Topology
    let databases: [FleetSurvey.Database]
    let direction: MigrationDirection
    let files: [Migration]

    private enum Ended: Sendable {
        case migrated(String, versions: [Int], problem: String?)
        case checked(problem: String?)
    }

    private var options: FleetOptions { migration.options }

    /// - Throws: a refusal before anything was done; a failure of the catalog.
    func run(
        subject: MigrationRunJournal.Subject, into result: inout FleetMigration.Result
    ) async throws {
        let pending = databases.filter { $0.problem != nil || lacks($0, subject) }.map(\.name)
        let journal = MigrationRunJournal(catalog: catalog)
        guard !pending.isEmpty else {
            // A run that was stopped after its last shard.
            if let open = try await journal.open(), open.subject == subject {
                try await journal.finish(open.id)
            }
            result.databases += databases.map { .init(database: $0.name, state: .current) }
            return
        }
        let before = try await journal.open().flatMap { $0.subject == subject ? $0 : nil }
        let canary = canary(of: pending, before)
        let id = try await journal.begin(
            subject, shards: pending, canary: canary, check: options.check)
        result.run = id
        var progress = FleetProgress(
            pending: pending, canary: canary, parallel: options.parallel,
            maxFailures: options.maxFailures)
        var versions: [String: [Int]] = [:]
        try await carryOut(
            &progress, &versions, subject, journal, id, check: options.check ?? before?.check)
        result.problem = progress.problem
        result.databases += databases.map { database in
            let state = progress.shards.first { $0.name == database.name }?.state
            return FleetMigration.Outcome(
                database: database.name, state: Self.outcome(state),
                versions: versions[database.name] ?? [])
        }
        if result.isComplete { try await journal.finish(id) }
    }

    /// Whoever goes on with a run has its canary, unless another one is wanted: were it stopped there,
    /// the next shard would be a second one. A shard that is away proves nothing, so it is none.
    private func canary(
        of pending: [String], _ run: MigrationRunJournal.OpenRun?
    ) -> String? {
        if let wanted = options.canary { return wanted }
        let present = databases.filter { $0.problem == nil }.map(\.name)
        if let before = run?.canary, present.contains(before) { return before }
        return pending.first { present.contains($0) }
    }

    private static func outcome(
        _ state: FleetProgress.ShardState?
    ) -> FleetMigration.Outcome.State {
        switch state {
        case nil: .current
        case .done: .done
        case .pending, .running: .pending
        case .failed(let why): .failed(why)
        }
    }

    private func lacks(
        _ database: FleetSurvey.Database, _ subject: MigrationRunJournal.Subject
    ) -> Bool {
        switch subject.direction {
        case .up: !database.plan.pending.isEmpty
        case .down: !database.state.versions.isDisjoint(with: subject.versions)
        }
    }

    private func carryOut(
        _ progress: inout FleetProgress, _ versions: inout [String: [Int]],
        _ subject: MigrationRunJournal.Subject, _ journal: MigrationRunJournal, _ id: Int64,
        check query: String?
    ) async throws {
        try await withThrowingTaskGroup(of: Ended.self) { group in
            while true {
                for action in progress.next() {
                    switch action {
                    case .migrate(let shard):
                        try await journal.began(shard, in: id)
                        group.addTask { await migrate(shard, subject) }
                    case .check(let shard):
                        group.addTask { .checked(problem: await check(shard, query)) }
                    }
                }
                guard let ended = try await group.next() else { return }
                switch ended {
                case .migrated(let shard, let now, let problem):
                    versions[shard] = now
                    try await journal.ended(shard, in: id, problem: problem)
                    progress.ended(shard, problem: problem)
                case .checked(let problem):
                    progress.checked(problem: problem)
                }
            }
        }
    }

    private func migrate(_ name: String, _ subject: MigrationRunJournal.Subject) async -> Ended {
        guard let shard = topology.shard(named: name) else {
            return .migrated(name, versions: [], problem: "it is no shard any more")
        }
        let migrator = {
            var migrator = Migrator(kind: .shard, migrations: files, database: name)
            migrator.limits = options.limits
            return migrator
        }()
        let done = Mutex<[Int]>([])
        let tell: @Sendable (MigrationEvent) -> Void = { event in
            switch event.what {
            case .applied(let file, _), .undone(let file, _):
                done.withLock { $0.append(file.version) }
            default: break
            }
            migration.tell(event)
        }
        do {
            let versions = try await migration.cluster.withMember(shard, of: topology) {
                connection in
                try await migration.cluster.withShard(endpoint: shard.endpoint, name: name) {
                    observer in
                    switch subject.direction {
                    case .up:
                        return try await migrator.up(
                            connection, observer: observer, upTo: options.upTo, tell: tell)
                    case .down:
                        let isDone = try await migrator.down(
                            subject.versions[0], connection, observer: observer, tell: tell)
                        return isDone ? subject.versions : []
                    }
                }
            }
            return .migrated(name, versions: versions, problem: nil)
        } catch {
            let problem = Self.words(error)
            tell(MigrationEvent(database: name, what: .failed(problem)))
            return .migrated(name, versions: done.withLock { $0 }, problem: problem)
        }
    }

    /// With what to do about it.
    private static func words(_ error: any Error) -> String {
        guard let error = error as? OperationError else { return "\(error)" }
        return "\(error.description) – \(error.next)"
    }

    private func check(_ name: String, _ query: String?) async -> String? {
        guard let shard = topology.shard(named: name) else { return "it is no shard any more" }
        do {
            return try await migration.cluster.withMember(shard, of: topology) { connection in
                try await CanaryCheck(query: query).problem(connection)
            }
        } catch {
            return "\(error)"
        }
    }
}
