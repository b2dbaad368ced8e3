import Postgres

/// Applies files to one database, or takes them back.
///
/// A transactional file commits together with its row of the history, so it is applied or it is not.
/// The statements of others are written down one by one: before, that they begin, unless they commit
/// together with that they are done. A runner may be stopped anywhere, and the next one goes on.
struct MigrationRunner: Sendable {
    /// Until the end of a transaction: a file may have chosen the owner of what it makes by SET ROLE,
    /// who has no business in the history.
    private static let asRunner = "set local role to default; "

    let kind: SchemaKind
    let database: String
    let connection: PostgresConnection
    /// nil: nobody is told for whom a statement waits.
    let watch: LockWatch?
    let limits: MigrationLimits
    let tell: @Sendable (MigrationEvent.What) -> Void

    /// Settings of the session that a file may have changed are as they were after each.
    func prepareSession() async throws(PostgresError) {
        try await connection.script(
            """
            reset all; set session authorization default;
            set application_name = 'shardctl migrate'; set statement_timeout = 0;
            set lock_timeout = 0; set idle_in_transaction_session_timeout = 0;
            set client_connection_check_interval = \(limits.orphan.milliseconds)
            """, deadline: .now + Cluster.patience)
    }

    /// - Parameter steps: what the journal says about the file.
    /// - Throws: ``OperationError``; a transactional file has then done nothing.
    func run(
        _ migration: Migration, _ direction: MigrationDirection, steps: [MigrationState.Step]
    ) async throws {
        let start = ContinuousClock.now
        let script = migration.script(direction)
        let check = ScriptCheck(script: script)
        try check.run()
        let job = MigrationJob(
            kind: kind, migration: migration, direction: direction, script: script)
        if script.directives.isTransactional {
            try await inTransaction(
                job, numbers: Array(script.statements.indices), finishing: job.historyChange)
        } else {
            for number in script.statements.indices {
                let known = steps.first { $0.direction == direction && $0.number == number + 1 }
                let statement = script.statements[number]
                if let known, known.statement != statement.checksum {
                    throw check.refused(
                        statement,
                        "\(database): the file was edited after this statement had begun",
                        next: "restore the file")
                }
                guard known?.isDone != true else {
                    try await repeatSetting(job, number)
                    continue
                }
                try await step(job, number, isBegun: known != nil)
            }
            try await finish(job)
        }
        try await prepareSession()
        let elapsed = ContinuousClock.now - start
        tell(direction == .up ? .applied(migration, elapsed) : .undone(migration, elapsed))
    }

    // MARK: - Transactions

    /// Runs statements and `finishing` in one transaction, again and again while a lock is not free.
    private func inTransaction(
        _ job: MigrationJob, numbers: [Int], finishing: String
    ) async throws {
        var waited = Duration.zero
        var pause = limits.firstPause
        while true {
            let start = ContinuousClock.now
            do throws(StatementFailure) {
                return try await transaction(job, numbers, finishing)
            } catch {
                waited += .now - start
                guard error.isAboutLocks, waited < limits.patience else {
                    throw failure(job, error, waited)
                }
            }
            tell(.triesAgain(job.migration, pause: pause))
            let failed = ContinuousClock.now
            try await rest(pause, atMost: limits.patience - waited)
            waited += .now - failed
            pause = min(pause * 2, limits.longestPause)
        }
    }

    private func transaction(
        _ job: MigrationJob, _ numbers: [Int], _ finishing: String
    ) async throws(StatementFailure) {
        var current = numbers.first ?? 0
        do throws(PostgresError) {
            let timeouts = job.timeouts(limits)
            try await connection.script(
                "begin; set local lock_timeout = \(timeouts.lock); "
                    + "set local statement_timeout = \(timeouts.statement)",
                deadline: .now + Cluster.patience)
            for number in numbers {
                current = number
                begins(job, number)
                try await watched(job) { () async throws(PostgresError) in
                    try await run(job.script.statements[number])
                }
            }
            try await connection.script(
                Self.asRunner + finishing + "; commit", deadline: .now + Cluster.patience)
        } catch {
            if connection.isUsable, connection.isInTransaction { await rollBack() }
            throw StatementFailure(number: current, error: error)
        }
    }

    /// Whatever becomes of it, the first error is what counts.
    private func rollBack() async {
        do {
            _ = try await connection.query(
                Statement("rollback", isPrepared: false), deadline: .now + Cluster.patience)
        } catch {
            connection.close()
        }
    }

    private func run(_ statement: SQLStatement) async throws(PostgresError) {
        let deadline = ContinuousClock.now + Cluster.migrationPatience
        guard let rows = statement.copyData else {
            return try await connection.script(statement.text, deadline: deadline)
        }
        do {
            _ = try await connection.copyIn(statement.text, deadline: deadline) { writer in
                try await writer.write(Array(rows.utf8))
            }
        } catch let error as PostgresError {
            throw error
        } catch {
            throw .connectionLost(reason: "\(error)", mayHaveRun: true)
        }
    }

    /// When those who stood in the way are through; or after `pause`, when nobody knows who did.
    private func rest(_ pause: Duration, atMost limit: Duration) async throws {
        let pause = min(pause, limit)
        guard let watch, !watch.blockers.isEmpty else { return try await Task.sleep(for: pause) }
        do {
            try await watch.waitForBlockers(until: .now + min(limits.longestPause, limit))
        } catch is PostgresError {
            // The connection that watches is gone, the one that works is not.
            try await Task.sleep(for: pause)
        }
    }

    // MARK: - One by one

    /// A SET holds for what comes after it in its file, also where the runner was stopped in between.
    private func repeatSetting(_ job: MigrationJob, _ number: Int) async throws {
        guard MigrationStep.setsSession(job.script.statements[number]) else { return }
        do throws(PostgresError) {
            try await write(job.script.statements[number].text)
        } catch {
            throw failure(job, StatementFailure(number: number, error: error), .zero)
        }
    }

    private func step(_ job: MigrationJob, _ number: Int, isBegun: Bool) async throws {
        let statement = job.script.statements[number]
        let step = MigrationStep(statement)
        if step == .plain {
            let done = job.stepChange(number, isDone: true)
            return try await inTransaction(job, numbers: [number], finishing: done)
        }
        begins(job, number)
        var isBegun = isBegun
        var waited = Duration.zero
        while true {
            let start = ContinuousClock.now
            do throws(StatementFailure) {
                return try await alone(job, number, step, isBegun: isBegun)
            } catch {
                waited += .now - start
                guard error.isAboutLocks, waited < limits.patience else {
                    throw failure(job, error, waited)
                }
            }
            tell(.triesAgain(job.migration, pause: limits.firstPause))
            let failed = ContinuousClock.now
            try await rest(limits.firstPause, atMost: limits.patience - waited)
            waited += .now - failed
            isBegun = true
        }
    }

    /// A statement that commits by itself.
    private func alone(
        _ job: MigrationJob, _ number: Int, _ step: MigrationStep, isBegun: Bool
    ) async throws(StatementFailure) {
        do throws(PostgresError) {
            guard try await isWanted(job, number, step, isBegun: isBegun) else {
                return try await write(Self.asRunner + job.stepChange(number, isDone: true))
            }
            let timeouts = job.timeouts(limits, isPolite: step.waitsPolitely)
            try await write(
                "set lock_timeout = \(timeouts.lock); "
                    + "set statement_timeout = \(timeouts.statement); "
                    + Self.asRunner + job.stepChange(number, isDone: false))
            do throws(PostgresError) {
                try await watched(job) { () async throws(PostgresError) in
                    try await run(job.script.statements[number])
                }
            } catch {
                try await clear(job, number, step, after: error)
                throw error
            }
            try await write(Self.asRunner + job.stepChange(number, isDone: true))
        } catch {
            throw StatementFailure(number: number, error: error)
        }
    }

    /// Looks at the database when the statement may have run; mends what is half-way.
    private func isWanted(
        _ job: MigrationJob, _ number: Int, _ step: MigrationStep, isBegun: Bool
    ) async throws(PostgresError) -> Bool {
        if case .makesIndex = step {} else if !isBegun { return true }
        let inspection = StepInspection(connection: connection, deadline: .now + Cluster.patience)
        switch try await inspection.look(step) {
        case .absent:
            return true
        case .done:
            return false
        case .leftover(let mend, let isDoneThen):
            for statement in mend {
                tell(.mends(job.migration, statement))
                try await watched(job) { () async throws(PostgresError) in
                    try await run(SQLStatement(text: statement))
                }
            }
            return !isDoneThen
        case .different(let what):
            throw job.problem(number, what, isUnseen: false)
        case .unknown where job.script.directives.isRepeatable:
            return true
        case .unknown:
            throw job.problem(
                number, "nothing in the database tells whether all of it has run", isUnseen: true)
        }
    }

    /// The server has said that the statement failed: what is left of it goes away, so that the file
    /// may be changed. Only of what may have committed in part nothing is known.
    private func clear(
        _ job: MigrationJob, _ number: Int, _ step: MigrationStep, after error: PostgresError
    ) async throws(PostgresError) {
        guard connection.isUsable, error.sqlState != nil else { return }
        // Whoever was waited for in vain may stand in the way of this, too.
        let limit = min(limits.longestPause, limits.patience).milliseconds
        try await write("set lock_timeout = \(limit); set statement_timeout = 0")
        switch step {
        case .makesIndex, .rebuilds:
            let inspection = StepInspection(
                connection: connection, deadline: .now + Cluster.patience)
            if case .leftover(let mend, _) = try await inspection.look(step) {
                // As long as it is written down as begun, the next runner removes the rest.
                guard try await hasRun(mend, job) else { return }
            }
        case .opaque where !job.script.directives.isRepeatable: return
        case .plain, .dropsIndexes, .detaches, .repeatable, .opaque, .controlsTransaction,
            .givesRows:
            break
        }
        try await write(Self.asRunner + job.stepRemoval(number))
    }

    /// - Returns: false when the server did not let it.
    private func hasRun(
        _ mend: [String], _ job: MigrationJob
    ) async throws(PostgresError) -> Bool {
        do throws(PostgresError) {
            for statement in mend {
                tell(.mends(job.migration, statement))
                // Not watched: the watch keeps who stood in the way of the statement itself.
                try await run(SQLStatement(text: statement))
            }
            return true
        } catch {
            guard error.sqlState != nil else { throw error }
            return false
        }
    }

    private func finish(_ job: MigrationJob) async throws {
        do throws(PostgresError) {
            try await write(
                "begin; set local lock_timeout = 0; \(Self.asRunner)\(job.historyChange); "
                    + "\(job.stepsRemoval); commit")
        } catch {
            throw OperationError.failed("\(database): \(job.script.file): \(error)")
        }
    }

    private func write(_ sql: String) async throws(PostgresError) {
        try await connection.script(sql, deadline: .now + Cluster.patience)
    }

    // MARK: - Telling

    private func begins(_ job: MigrationJob, _ number: Int) {
        tell(
            .begins(
                job.migration, number: number + 1, count: job.script.statements.count))
    }

    /// Runs `operation`, and tells meanwhile for whom it waits.
    private func watched(
        _ job: MigrationJob, _ operation: () async throws(PostgresError) -> Void
    ) async throws(PostgresError) {
        guard let watch else { return try await operation() }
        let (limits, tell) = (limits, tell)
        let migration = job.migration
        // Cancelled at the end of this scope; nobody needs to know how it ended.
        async let _: Void = watch.run(patience: limits.patience) {
            tell(.waitingForLock(migration, $0.words))
        }
        try await operation()
    }

    private func failure(
        _ job: MigrationJob, _ failure: StatementFailure, _ waited: Duration
    ) -> OperationError {
        var failure = failure
        failure.wasGivenUp = failure.error.sqlState == "57014" && watch?.hasGivenUp == true
        return job.failure(
            failure, database: database, blocker: watch?.blockers.first?.words, waited: waited)
    }
}
