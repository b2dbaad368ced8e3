import Postgres

/// A statement of a file that failed.
struct StatementFailure: Error {
    /// From 0.
    var number: Int
    var error: PostgresError
    /// The runner itself ended it, because it had waited for others for too long.
    var wasGivenUp = false

    /// The lock was not free in time, or two waited for each other: nothing has happened.
    var isAboutLocks: Bool { ["55P03", "40P01"].contains(error.sqlState) }
}

/// One file on its way into one database: what is written down about it. No I/O.
struct MigrationJob: Sendable {
    /// The SQLSTATEs of what the runner itself finds out about a statement: that nobody can tell
    /// whether it has run, and that something else is where it would make something.
    private static let unseenState = "SM003"
    private static let differentState = "SM004"

    let kind: SchemaKind
    let migration: Migration
    let direction: MigrationDirection
    let script: MigrationScript

    /// The row of the history comes, or goes.
    ///
    /// Titles and sums are plain by the rules for file names and hexadecimal digits.
    var historyChange: String {
        let table = "\(kind.rawValue).migrations"
        switch direction {
        case .up where script.directives.isTransactional:
            return """
                insert into \(table) (version, title, checksum, duration_ms)
                values (\(migration.version), '\(migration.title)', '\(migration.checksum)',
                    (extract(epoch from clock_timestamp() - now()) * 1000)::bigint)
                """
        case .up:
            return """
                insert into \(table) (version, title, checksum, duration_ms)
                select \(migration.version), '\(migration.title)', '\(migration.checksum)',
                    coalesce(extract(epoch from clock_timestamp() - min(started_at)) * 1000, 0)::bigint
                from \(kind.rawValue).migration_steps
                where version = \(migration.version) and direction = 'up'
                """
        case .down:
            return "delete from \(table) where version = \(migration.version)"
        }
    }

    /// - Parameter number: from 0.
    func stepChange(_ number: Int, isDone: Bool) -> String {
        let state = isDone ? "done" : "started"
        let doneAt = isDone ? "clock_timestamp()" : "null"
        return """
            insert into \(kind.rawValue).migration_steps as s
                (version, direction, step, statement, state, done_at)
            values (\(migration.version), '\(direction.rawValue)', \(number + 1),
                '\(script.statements[number].checksum)', '\(state)', \(doneAt))
            on conflict (version, direction, step) do update
            set state = excluded.state, done_at = excluded.done_at, statement = excluded.statement
            """
    }

    func stepRemoval(_ number: Int) -> String { stepsRemoval + " and step = \(number + 1)" }

    var stepsRemoval: String {
        """
        delete from \(kind.rawValue).migration_steps
        where version = \(migration.version) and direction = '\(direction.rawValue)'
        """
    }

    /// In milliseconds, as settings of a session; 0 is no limit.
    func timeouts(_ limits: MigrationLimits, isPolite: Bool = false) -> (lock: Int, statement: Int)
    {
        let lock = script.directives.lockTimeout ?? (isPolite ? .zero : limits.lockTimeout)
        let statement =
            script.directives.statementTimeout
            ?? (script.directives.isTransactional ? limits.statementTimeout : .zero)
        return (lock.milliseconds, statement.milliseconds)
    }

    /// What is wrong with a statement, for the way of an error of the server.
    func problem(_ number: Int, _ what: String, isUnseen: Bool) -> PostgresError {
        .server(
            ServerError(
                sqlState: isUnseen ? Self.unseenState : Self.differentState, message: what,
                statementIndex: number))
    }

    func failure(
        _ failure: StatementFailure, database: String, blocker: String?, waited: Duration
    ) -> OperationError {
        let statement =
            script.statements.indices.contains(failure.number)
            ? script.statements[failure.number] : SQLStatement(text: "")
        let place = "\(database): \(script.file), line \(statement.line)"
        let step = "\(migration.version)/\(failure.number + 1)"
        let repair =
            "look at the database, then: shardctl migrate repair \(database) --step \(step) --done, "
            + "or --again"
        if [Self.unseenState, Self.differentState].contains(failure.error.sqlState),
            case .server(let error) = failure.error
        {
            return .refused(
                "\(place): \(error.message): \(StatementText.brief(statement.text))",
                next: error.sqlState == Self.unseenState
                    ? repair : "drop or rename what is there, then: shardctl migrate up")
        }
        let rest =
            if case .connectionLost(_, mayHaveRun: true) = failure.error {
                "whether it was committed, the next call finds out"
            } else if script.directives.isTransactional {
                "the file was rolled back"
            } else {
                "what came before it in the file is done"
            }
        if failure.isAboutLocks || failure.wasGivenUp {
            let who = blocker.map { ", held by \($0)" } ?? ""
            return .failed(
                "\(place): no lock within \(waited.formatted)\(who); \(rest)",
                next: "end that transaction, or wait, then: shardctl migrate up --resume")
        }
        var why = "\(failure.error)"
        let limit = timeouts(MigrationLimits()).statement
        // Without a limit it was somebody else who cancelled it.
        if failure.error.sqlState == "57014", limit > 0 {
            why +=
                "; one statement may take \(Duration.milliseconds(limit).formatted): "
                + "a first line such as -- shardctl: statement_timeout=5min allows more"
        }
        guard
            MigrationStep(statement) != .opaque || script.directives.isTransactional
                || script.directives.isRepeatable
        else {
            return .failed(
                "\(place): \(why); what it committed before that stays, and \(rest)", next: repair)
        }
        return .failed(
            "\(place): \(why); \(rest)",
            next: "mend the file or the data, then: shardctl migrate up")
    }
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: Int { Int(self / .milliseconds(1)) }

    /// Such as `340 ms`, `12 s` or `3 min`.
    var formatted: String {
        if self < .seconds(2) { return "\(milliseconds) ms" }
        let seconds = Int(self / .seconds(1))
        return seconds < 120 ? "\(seconds) s" : "\(seconds / 60) min"
    }
}
