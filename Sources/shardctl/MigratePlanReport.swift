import ShardOperations

/// What `shardctl migrate plan` and `lint` print.
struct MigratePlanReport {
    private static let lines = 12

    /// Whether long statements are shown to their end.
    let showsAll: Bool

    func report(_ plan: FleetPlan) -> Report {
        let isPending = plan.databases.contains { !$0.files.isEmpty }
        let isStuck = plan.databases.contains { $0.problem != nil || !$0.obstacles.isEmpty }
        let isDangerous = plan.findings.contains { $0.severity == .danger }
        var lines = groups(plan.databases).flatMap { names, database in
            text(of: database, names: names.joined(separator: ", "))
        }
        lines += Self.findings(plan.findings)
        return Report(
            lines: lines,
            json: [
                "databases": .list(plan.databases.map { .object(json($0)) }),
                "findings": .list(plan.findings.map { .object(Self.json($0)) }),
            ],
            next: isStuck
                ? plan.databases.contains { $0.problem != nil }
                    ? "shardctl status" : "shardctl migrate repair"
                : isDangerous
                    ? "change the files as it says above, or: shardctl migrate up --accept-findings"
                    : isPending ? "shardctl migrate up" : "shardctl migrate verify",
            exitCode: isPending || isStuck ? 3 : 0)
    }

    /// Databases of which the same is to be said stand together.
    private func groups(_ databases: [FleetPlan.Database]) -> [([String], FleetPlan.Database)] {
        var groups: [([String], FleetPlan.Database)] = []
        for database in databases {
            let place = groups.firstIndex { _, other in
                other.files == database.files && other.obstacles == database.obstacles
                    && other.problem == database.problem
            }
            if let place {
                groups[place].0.append(database.name)
            } else {
                groups.append(([database.name], database))
            }
        }
        return groups
    }

    private func text(of database: FleetPlan.Database, names: String) -> [String] {
        if let problem = database.problem { return ["\(names): \(problem)"] }
        guard database.obstacles.isEmpty else {
            return ["\(names):"] + database.obstacles.map { "  \($0.description)" }
        }
        guard !database.files.isEmpty else { return ["\(names): current"] }
        return ["\(names):"] + database.files.flatMap(text)
    }

    private func text(of file: FleetPlan.File) -> [String] {
        let directives = file.migration.up.directives
        let way = directives.isTransactional ? "one transaction" : "statement by statement"
        let phase = directives.phase == .contract ? ", contract" : ""
        return ["  \(file.migration.name) (\(way)\(phase))"] + file.statements.flatMap(text)
    }

    private func text(of statement: FleetPlan.Statement) -> [String] {
        let all = statement.text.split(separator: "\n", omittingEmptySubsequences: false)
        var shown = all.prefix(showsAll ? all.count : Self.lines).map { "    " + $0 }
        if shown.count < all.count {
            shown.append("    … \(all.count - shown.count) more lines; --sql shows them")
        }
        return shown + Self.words(statement.effect).map { "      → \($0)" }
    }

    /// What a statement does to others, in words.
    static func words(_ effect: StatementEffect?) -> [String] {
        guard let effect else { return ["the parser cannot read it: what it locks is not known"] }
        guard effect.isKnown else { return ["what it does is not looked into"] }
        let heavy = effect.locks.filter { $0.level.blocksWriters }
        var words = heavy.map { lock in
            "\(lock.level) on \(lock.relation): \(lock.level.blocks) wait"
                + (effect.isOnline ? " for a moment" : " until it is done")
        }
        if heavy.isEmpty {
            let light = effect.locks.map { "\($0.level) on \($0.relation)" }
            words = ["nobody waits" + (light.isEmpty ? "" : ": " + light.joined(separator: ", "))]
        }
        switch effect.rewrites {
        case .no: if effect.scans { words.append("reads the whole table") }
        case .yes: words.append("writes the whole table anew")
        case .depends(let what): words.append("writes the whole table anew, depending on \(what)")
        }
        return words
    }

    // MARK: - Findings

    static func findings(_ findings: [LintFinding]) -> [String] {
        findings.sorted { $0.severity > $1.severity }.flatMap { finding in
            [
                "\(finding.severity.rawValue): \(finding.file), line \(finding.line): "
                    + "\(finding.what) (\(finding.rule))",
                "  \(finding.why)", "  instead: \(finding.instead)",
            ]
        }
    }

    static func lint(_ findings: [LintFinding], files: Int) -> Report {
        let dangers = findings.count { $0.severity == .danger }
        let summary =
            "files: \(files), dangers: \(dangers), pieces of advice: \(findings.count - dangers)"
        return Report(
            lines: self.findings(findings) + [summary],
            json: ["findings": .list(findings.map { .object(json($0)) })],
            next: findings.isEmpty
                ? "shardctl migrate plan"
                : "change the files; or, where you know better, above the statement: "
                    + "-- shardctl: allow=RULE reason=\"…\"",
            exitCode: dangers > 0 ? 3 : 0)
    }

    static func rules() -> Report {
        let rules = MigrationLint.rules
        return Report(
            lines: table(rules.map { [$0.name, $0.severity.rawValue, $0.summary] }),
            json: [
                "rules": .list(
                    rules.map {
                        .object([
                            "rule": .text($0.name), "severity": .text($0.severity.rawValue),
                            "why": .text($0.summary), "instead": .text($0.instead),
                        ])
                    })
            ], next: "shardctl migrate lint")
    }

    private static func json(_ finding: LintFinding) -> [String: JSONValue] {
        [
            "rule": .text(finding.rule), "severity": .text(finding.severity.rawValue),
            "file": .text(finding.file), "line": .number(finding.line),
            "table": finding.relation.map { .text($0) } ?? .null, "what": .text(finding.what),
            "why": .text(finding.why), "instead": .text(finding.instead),
        ]
    }

    private func json(_ database: FleetPlan.Database) -> [String: JSONValue] {
        [
            "name": .text(database.name),
            "problem": database.problem.map { .text($0) } ?? .null,
            "obstacles": .list(database.obstacles.map { .text($0.description) }),
            "files": .list(
                database.files.map { file in
                    .object([
                        "version": .number(file.migration.version),
                        "title": .text(file.migration.title),
                        "transaction": .flag(file.migration.up.directives.isTransactional),
                        "phase": .text(file.migration.up.directives.phase.rawValue),
                        "statements": .list(file.statements.map { .object(json($0)) }),
                    ])
                }),
        ]
    }

    private func json(_ statement: FleetPlan.Statement) -> [String: JSONValue] {
        var rewrites: JSONValue = .null
        switch statement.effect?.rewrites {
        case .no: rewrites = .text("no")
        case .yes: rewrites = .text("yes")
        case .depends(let what): rewrites = .text("depends on \(what)")
        case nil: break
        }
        let locks = statement.effect?.locks.map { lock -> JSONValue in
            .object(["table": .text(lock.relation), "level": .text(lock.level.description)])
        }
        return [
            "sql": .text(statement.text), "line": .number(statement.line),
            "locks": locks.map { .list($0) } ?? .null, "rewrites": rewrites,
            "scans": statement.effect.map { .flag($0.scans) } ?? .null,
        ]
    }
}
