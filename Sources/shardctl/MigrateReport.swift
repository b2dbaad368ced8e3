import ShardOperations

/// What the commands of `shardctl migrate` print.
enum MigrateReport {
    static func status(_ survey: FleetSurvey) -> Report {
        let rows = survey.all.map { database in
            [
                database.name, state(database),
                "\(database.state.history.map(\.version).max() ?? 0)",
                database.plan.pending.isEmpty
                    ? "-" : database.plan.pending.map(\.name).joined(separator: " "),
            ]
        }
        let troubles = survey.all.flatMap { database in
            (database.problem.map { ["\(database.name): \($0)"] } ?? [])
                + database.plan.obstacles.map {
                    "\(database.name): \($0.description)\n  \($0.remedy(database: database.name))"
                }
                + halfway(database)
        }
        let isPending = survey.all.contains { !$0.plan.pending.isEmpty }
        let hasTrouble = survey.all.contains { $0.problem != nil || !$0.plan.obstacles.isEmpty }
        return Report(
            lines: table([["DATABASE", "STATE", "VERSION", "PENDING"]] + rows) + troubles,
            json: ["databases": .list(survey.all.map { .object(json($0)) })],
            next: hasTrouble
                ? "mend what is named above"
                : isPending ? "shardctl migrate plan" : "shardctl status",
            exitCode: isPending || hasTrouble ? 3 : 0)
    }

    /// What needs a human, and the ways out.
    static func repairs(_ survey: FleetSurvey) -> Report {
        let away = survey.all.compactMap { database in
            database.problem.map { "\(database.name) does not answer: \($0)" }
        }
        let obstacles = survey.all.flatMap { database in
            database.plan.obstacles.map { (database.name, $0) }
        }
        // Of a statement whose end nobody saw the next `up` tells whether anything tells.
        let lines = obstacles.flatMap { name, obstacle in
            ["\(name): \(obstacle.description)", "  \(obstacle.remedy(database: name))"]
        }
        let half = survey.all.flatMap(halfway)
        return Report(
            lines: obstacles.isEmpty && half.isEmpty && away.isEmpty
                ? ["nothing needs a human"] : lines + half + away,
            json: [
                "obstacles": .list(
                    obstacles.map { name, obstacle in
                        .object([
                            "database": .text(name), "version": .number(obstacle.version),
                            "what": .text(obstacle.description),
                            "next": .text(obstacle.remedy(database: name)),
                        ])
                    })
            ], next: obstacles.isEmpty ? "shardctl migrate status" : "one of the commands above",
            exitCode: obstacles.isEmpty && away.isEmpty ? 0 : 3)
    }

    private static func state(_ database: FleetSurvey.Database) -> String {
        if database.problem != nil { return "away" }
        if !database.plan.obstacles.isEmpty { return "needs you" }
        if !database.state.steps.isEmpty { return "half-way" }
        return database.plan.pending.isEmpty ? "current" : "behind"
    }

    private static func halfway(_ database: FleetSurvey.Database) -> [String] {
        guard database.plan.obstacles.isEmpty, let step = database.state.steps.last else {
            return []
        }
        let word = step.isDone ? "was done" : "was begun"
        return [
            "\(database.name): statement \(step.number) of migration \(step.version) \(word) last; "
                + "shardctl migrate up goes on"
        ]
    }

    private static func json(_ database: FleetSurvey.Database) -> [String: JSONValue] {
        [
            "name": .text(database.name), "state": .text(state(database)),
            "applied": .list(database.state.history.map { .number($0.version) }),
            "pending": .list(database.plan.pending.map { .number($0.version) }),
            "steps": .list(
                database.state.steps.map {
                    .object([
                        "version": .number($0.version), "step": .number($0.number),
                        "direction": .text($0.direction.rawValue), "done": .flag($0.isDone),
                    ])
                }),
            "obstacles": .list(
                database.plan.obstacles.map {
                    .object([
                        "version": .number($0.version), "what": .text($0.description),
                        "next": .text($0.remedy(database: database.name)),
                    ])
                }),
            "problem": database.problem.map { .text($0) } ?? .null,
        ]
    }

    static func outcome(
        _ result: FleetMigration.Result, _ direction: MigrationDirection
    ) -> Report {
        let rows = result.databases.map { outcome in
            [
                outcome.database, word(outcome.state),
                outcome.versions.isEmpty
                    ? "-" : outcome.versions.map(String.init).joined(separator: " "),
            ]
        }
        let troubles = result.databases.compactMap { outcome in
            if case .failed(let why) = outcome.state { why } else { nil }
        }
        let check = result.problem.map { ["the canary is not well: \($0)"] } ?? []
        let title = direction == .up ? "APPLIED" : "TAKEN BACK"
        return Report(
            lines: table([["DATABASE", "STATE", title]] + rows) + check + troubles,
            json: [
                "run": result.run.map { .number(Int($0)) } ?? .null,
                "complete": .flag(result.isComplete),
                "problem": result.problem.map { .text($0) } ?? .null,
                "databases": .list(result.databases.map { .object(json($0)) }),
            ],
            next: result.isComplete
                ? (direction == .up ? "shardctl migrate verify" : "shardctl migrate status")
                : (direction == .up
                    ? "mend what is named above, then: shardctl migrate up"
                    : "mend what is named above, then: shardctl migrate down"),
            exitCode: result.isComplete ? 0 : 1)
    }

    private static func word(_ state: FleetMigration.Outcome.State) -> String {
        switch state {
        case .current: "current"
        case .done: "done"
        case .pending: "not begun"
        case .failed: "failed"
        }
    }

    private static func json(_ outcome: FleetMigration.Outcome) -> [String: JSONValue] {
        var problem: JSONValue = .null
        if case .failed(let why) = outcome.state { problem = .text(why) }
        return [
            "name": .text(outcome.database), "state": .text(word(outcome.state)),
            "versions": .list(outcome.versions.map { .number($0) }), "problem": problem,
        ]
    }
}
