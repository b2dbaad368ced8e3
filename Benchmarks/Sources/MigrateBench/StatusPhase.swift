import BenchKit
import ShardOperations

/// What is applied where, and whether somebody has changed something by hand, in many databases:
/// everything at its last version, files and reference known.
struct StatusPhase {
    let stage: MigrateStage

    private static let status = "shardctl migrate status"
    private static let verify = "shardctl migrate verify"
    private static let library = "the library's status"
    private static let own = [status, verify, library]
    private static let oneByOne = "psql, one by one"
    private static let atOnce = "psql, xargs -P 8"

    func run(_ report: inout Report) async throws {
        let fleet = try await stage.fleet("status", shards: stage.extent.statusShards)
        var rivals: [RivalFleet] = []
        for tool in try RivalTool.all(stage) {
            report.machine[tool.name] = tool.version
            let rival = try await RivalFleet.make(
                "status", tool, databases: stage.extent.statusShards, files: SmallFiles.all,
                stage: stage)
            try shell(rival.deployment.atOnce(8))
            rivals.append(rival)
        }
        try await stage.settle()
        let ways = try ways(fleet, rivals)
        // The first one fills what the others find.
        for way in ways.prefix(3) { _ = try await way.run() }
        tell(
            try await interleaved(ways, rounds: stage.extent.statusRounds),
            rivals: ways.map(\.name).filter { !Self.own.contains($0) }, &report)
    }

    private func ways(_ fleet: MigratedFleet, _ rivals: [RivalFleet]) throws -> [Way] {
        let query = ShellLoop(
            lines: fleet.places,
            body: "\(stage.psql) -X \"$0\" -Atc \"select version, checksum from shard.migrations "
                + "order by version\" > /dev/null")
        func command(_ name: String, _ command: String, rounds: Int = .max) -> Way {
            Way(name: name, rounds: rounds) { try await timed(command) }
        }
        var ways = [
            command(Self.status, fleet.migrate("status > /dev/null")),
            Way(name: Self.library) {
                try await timed {
                    let survey = try await FleetSurvey.take(fleet.operations)
                    guard survey.all.allSatisfy({ $0.problem == nil && $0.plan.pending.isEmpty })
                    else { throw BenchError(description: "the databases are not all current") }
                }
            },
            command(Self.oneByOne, query.oneByOne),
            command(Self.atOnce, query.atOnce(8)),
        ]
        // The place of the drift check: a command of its own, and beside it the library's call.
        if try hasVerify(fleet) {
            ways.insert(command(Self.verify, fleet.migrate("verify > /dev/null")), at: 1)
        }
        for rival in rivals {
            let (name, loop) = (rival.tool.name, rival.status)
            ways.append(
                command("\(name), xargs -P 8", loop.atOnce(8), rounds: stage.extent.slowRounds))
            if stage.extent.isPatient {
                ways.append(command("\(name), one by one", loop.oneByOne, rounds: 1))
            }
        }
        return ways
    }

    /// Whether there is such a command, and it finds nothing here.
    private func hasVerify(_ fleet: MigratedFleet) throws -> Bool {
        let output = "\(fleet.home)/verify"
        let answer = try shell("\(fleet.migrate("verify")) > '\(output)' 2>&1; echo $?").trimmed
        if answer == "0" { return true }
        guard answer == "64" else {
            throw BenchError(
                description: "shardctl migrate verify ends with \(answer): "
                    + String(try shell("cat '\(output)'").prefix(2_000)))
        }
        print("status: this shardctl has no 'migrate verify'; its part is skipped")
        return false
    }

    private func tell(
        _ seconds: [String: [Double]], rivals: [String], _ report: inout Report
    ) {
        let times = seconds.mapValues { $0.map { $0 * 1_000 } }
        for (name, values) in times { report.series["status: \(name), ms"] = values }
        let count = "\(stage.extent.statusShards) shards and the catalog"
        let status = times[Self.status] ?? []
        let verify = times[Self.verify]
        for name in Self.own {
            guard let values = times[name] else { continue }
            report.add(
                Figure(
                    name: "status: \(name)", ours: median(values), unit: "ms",
                    note: "\(count); longest \(short(values.max() ?? 0))"))
        }
        report.add(
            Figure(
                name: "status: \(verify == nil ? "status alone" : "status and verify")",
                ours: median(status) + (verify.map { median($0) } ?? 0), unit: "ms",
                target: .atMost(300)))
        for name in rivals {
            guard let values = times[name] else { continue }
            report.compare(
                "status: beside \(name)", ours: status, rival: values, unit: "ms", target: nil,
                note: "\(values.count) rounds")
        }
    }
}
