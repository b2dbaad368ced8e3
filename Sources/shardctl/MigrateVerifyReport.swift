import ShardOperations

/// What `shardctl migrate verify` prints.
struct MigrateVerifyReport {
    /// Whether the repairs are all that is printed.
    let showsSQL: Bool

    func report(_ databases: [DatabaseDrift]) -> Report {
        let isWell = databases.allSatisfy(\.isAsWanted)
        let isPending = databases.contains { !$0.pending.isEmpty }
        let rows = databases.map { database in
            [
                database.name, state(database),
                "\(database.history.count + database.differences.count)",
                database.pending.isEmpty ? "-" : "\(database.pending.count)",
            ]
        }
        let lines =
            showsSQL
            ? databases.flatMap(script)
            : table([["DATABASE", "STATE", "DIFFERENCES", "PENDING"]] + rows)
                + databases.flatMap(details)
        return Report(
            lines: lines,
            json: ["databases": .list(databases.map { .object(json($0)) })],
            next: isWell
                ? isPending ? "shardctl migrate plan" : "shardctl status"
                : databases.allSatisfy { $0.history.isEmpty && $0.differences.isEmpty }
                    ? "shardctl status"
                    : "look at each, then: shardctl psql NAME, with the SQL above",
            exitCode: isWell ? 0 : 3, isScript: showsSQL)
    }

    private func state(_ database: DatabaseDrift) -> String {
        if database.problem != nil { return "not compared" }
        return database.isAsWanted ? "as its files say" : "differs"
    }

    private func details(_ database: DatabaseDrift) -> [String] {
        var lines = database.problem.map { ["\(database.name): \($0)"] } ?? []
        for drift in database.history {
            lines.append(
                "\(database.name): migration \(drift.version): \(Self.words(drift.change))")
            lines += drift.repair.split(separator: "\n").map { "    \($0)" }
        }
        for difference in database.differences {
            lines.append("\(database.name): \(difference.words)")
            lines += difference.repair.split(separator: "\n").map { "    \($0)" }
        }
        return lines
    }

    private func script(_ database: DatabaseDrift) -> [String] {
        let repairs = database.history.map(\.repair) + database.differences.map(\.repair)
        guard !repairs.isEmpty else { return [] }
        return ["-- \(database.name)"] + repairs
    }

    static func words(_ change: HistoryDrift.Change) -> String {
        switch change {
        case .missing: "it is not in the history, but later ones are"
        case .extra: "it is in the history, and not in the files"
        case .renamed(let old, let new): "it is called \(old), and \(new) in the files"
        case .changedChecksum: "its sum is not that of the file"
        case .late: "it was applied after a later one"
        case .leftoverSteps(let count):
            "\(count) statements are in the journal, although it is complete"
        }
    }

    private func json(_ database: DatabaseDrift) -> [String: JSONValue] {
        let history = database.history.map { drift -> JSONValue in
            .object([
                "version": .number(drift.version), "what": .text(Self.words(drift.change)),
                "repair": .text(drift.repair),
            ])
        }
        let differences = database.differences.map { difference -> JSONValue in
            .object([
                "object": .text("\(difference.object)"),
                "kind": .text(difference.object.kind.rawValue),
                "name": .text(difference.object.name),
                "change": .text(Self.word(difference.change)),
                "what": .text(difference.words), "repair": .text(difference.repair),
                "losesData": .flag(difference.losesData),
            ])
        }
        return [
            "name": .text(database.name), "state": .text(state(database)),
            "applied": .list(database.versions.map { .number($0) }),
            "pending": .list(database.pending.map { .number($0) }),
            "history": .list(history), "differences": .list(differences),
            "problem": database.problem.map { .text($0) } ?? .null,
        ]
    }

    private static func word(_ change: SchemaDifference.Change) -> String {
        switch change {
        case .missing: "missing"
        case .extra: "extra"
        case .changed: "changed"
        }
    }
}
