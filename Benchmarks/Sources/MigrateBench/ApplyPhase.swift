import BenchKit
import Postgres
import ShardOperations

/// Twenty small migrations on many databases.
struct ApplyPhase {
    let stage: MigrateStage

    private static let up = "shardctl migrate up"
    private static let upOneByOne = "shardctl migrate up --parallel 1"
    private static let library = "the library's run"
    private static let libraryOneByOne = "the library's run, parallel = 1"
    private static let psqlOneByOne = "psql -1 -f, one by one"
    private static let psqlAtOnce = "psql -1 -f, xargs -P 8"
    private static let psqlTogether = "psql -1 of all files, xargs -P 8"
    private static let own = [up, upOneByOne, library, libraryOneByOne]

    func run(_ report: inout Report) async throws {
        let files = SmallFiles.all
        let fleet = try await stage.fleet(
            "apply", shards: stage.extent.applyShards, files: files)
        var rivals: [RivalFleet] = []
        for tool in try RivalTool.all(stage) {
            report.machine[tool.name] = tool.version
            rivals.append(
                try await RivalFleet.make(
                    "apply", tool, databases: stage.extent.applyShards, files: files,
                    stage: stage))
        }
        let ways = ways(fleet, rivals)
        tell(
            try await interleaved(ways, rounds: stage.extent.applyRounds),
            rivals: ways.map(\.name).filter { !Self.own.contains($0) }, &report)
    }

    private func ways(_ fleet: MigratedFleet, _ rivals: [RivalFleet]) -> [Way] {
        // One file after the other, each in one transaction; nobody writes down what was done.
        let psql = ShellLoop(
            lines: fleet.places,
            body: "for file in \"\(fleet.shardFiles)\"/1*.up.sql; do \(stage.psql) -X -q -1 "
                + "-v ON_ERROR_STOP=1 -f \"$file\" \"$0\"; done")
        // All files in one transaction: as little as there can be.
        let together = ShellLoop(
            lines: fleet.places,
            body: "cat \"\(fleet.shardFiles)\"/1*.up.sql | \(stage.psql) -X -q -1 "
                + "-v ON_ERROR_STOP=1 \"$0\"")
        func command(_ name: String, _ command: String) -> Way {
            Way(
                name: name, prepare: { try await fleet.reset(SmallFiles.undo) },
                run: {
                    let seconds = try await timed(command)
                    try await check(fleet.databases.shards)
                    return seconds
                })
        }
        // Whether an index is on an empty table a file alone does not tell.
        let up = "up --accept-findings > /dev/null"
        var ways = [
            command(Self.up, fleet.migrate(up)),
            command(Self.upOneByOne, fleet.migrate("\(up) --parallel 1")),
            library(Self.library, FleetOptions().parallel, fleet),
            library(Self.libraryOneByOne, 1, fleet),
            command(Self.psqlOneByOne, psql.oneByOne),
            command(Self.psqlAtOnce, psql.atOnce(8)),
            command(Self.psqlTogether, together.atOnce(8)),
        ]
        for rival in rivals {
            func deployment(_ name: String, _ command: String, rounds: Int) -> Way {
                Way(
                    name: "\(rival.tool.name), \(name)", rounds: rounds,
                    prepare: { try await rival.reset() },
                    run: {
                        let seconds = try await timed(command)
                        try await check(rival.databases)
                        return seconds
                    })
            }
            let loop = rival.deployment
            ways.append(
                deployment("xargs -P 8", loop.atOnce(8), rounds: stage.extent.slowRounds))
            if stage.extent.isPatient {
                ways.append(deployment("one by one", loop.oneByOne, rounds: 1))
            }
        }
        return ways
    }

    private func library(_ name: String, _ parallel: Int, _ fleet: MigratedFleet) -> Way {
        var options = FleetOptions()
        options.acceptsFindings = true
        options.parallel = parallel
        let migration = FleetMigration(cluster: fleet.operations, options: options)
        return Way(
            name: name, prepare: { try await fleet.reset(SmallFiles.undo) },
            run: {
                let seconds = try await timed {
                    let result = try await migration.up()
                    guard result.isComplete else {
                        throw BenchError(description: "not all databases were migrated")
                    }
                }
                try await check(fleet.databases.shards)
                return seconds
            })
    }

    /// Everything is there, whoever did it.
    private func check(_ places: [BenchCluster.Place]) async throws {
        for place in places {
            let count: Int = try await withDatabase(place.connectionString) {
                try await $0.query(
                    """
                    select (select count(*) from pg_class where relnamespace = 'app'::regnamespace)
                        + (select count(*) from pg_proc where pronamespace = 'app'::regnamespace)
                    """, deadline: .now + .seconds(20))[0].get(0)
            }
            // Of each table: itself, its key and its index; and the function.
            guard count == 20 else {
                throw BenchError(description: "\(place.database) has \(count) objects of 20")
            }
        }
    }

    private func tell(
        _ seconds: [String: [Double]], rivals: [String], _ report: inout Report
    ) {
        for (name, values) in seconds { report.series["apply: \(name), s"] = values }
        let count = "\(SmallFiles.all.count) files on \(stage.extent.applyShards) databases"
        let up = seconds[Self.up] ?? []
        for name in Self.own {
            let values = seconds[name] ?? []
            report.add(
                Figure(
                    name: "apply: \(name)", ours: median(values), unit: "s",
                    target: name == Self.up ? .atMost(3) : nil,
                    note: "\(count); longest \(short(values.max() ?? 0))"))
        }
        for name in rivals {
            guard let values = seconds[name] else { continue }
            report.compare(
                "apply: beside \(name)", ours: up, rival: values, unit: "s", target: nil,
                note: "\(values.count) rounds")
        }
    }
}
