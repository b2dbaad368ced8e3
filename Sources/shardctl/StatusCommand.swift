import ArgumentParser
import FoundationEssentials
import Postgres
import ShardOperations
import ShardRouter

/// `shardctl status`
struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Asks the catalog and every shard.",
        discussion: """
            Examples: shardctl status --json
                      shardctl status --hot --seconds 10
            """)

    @Flag(help: "Show the rooms and slots that are written most.") var hot = false
    @Option(help: "How long --hot watches.") var seconds = 5
    @Option(help: "How many rooms and slots --hot shows.") var top = 10
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (1...3_600).contains(seconds) else {
            throw ValidationError("--seconds is 1 … 3600")
        }
        guard (1...1_000).contains(top) else { throw ValidationError("--top is 1 … 1000") }
    }

    func run() async throws {
        try await common.report {
            let cluster = try common.cluster()
            guard !hot else {
                return report(
                    try await HotRooms(cluster: cluster, pause: .seconds(seconds), top: top).run())
            }
            let (topology, shards) = try await cluster.status()
            return report(topology, shards, try await cluster.moveSummary())
        }
    }

    private func report(
        _ topology: Topology, _ shards: [Cluster.ShardStatus], _ moves: Cluster.MoveSummary
    ) -> Report {
        let rows = shards.map { status in
            [
                status.shard.name, status.shard.state.rawValue, "\(status.slots)",
                status.schemaVersion.map { "\($0)" } ?? "-",
                moves.parts[status.shard.id]?.lastVerified?.rfc3339 ?? "-",
                "\(moves.parts[status.shard.id]?.oldCopies ?? 0)", status.problem ?? "ok",
            ]
        }
        let hasProblem = shards.contains { $0.problem != nil }
        let header = [
            "SHARD", "STATE", "SLOTS", "SCHEMA", "LAST VERIFIED", "OLD COPIES", "HEALTH",
        ]
        return Report(
            lines: [
                "cluster \(topology.clusterID.uuidString.lowercased()), epoch \(topology.epoch), "
                    + "\(moves.openMoves) open moves, \(moves.oldCopies) old copies to be purged"
            ] + table([header] + rows),
            json: [
                "cluster": .text(topology.clusterID.uuidString.lowercased()),
                "epoch": .number(Int(topology.epoch.number)),
                "openMoves": .number(moves.openMoves), "oldCopies": .number(moves.oldCopies),
                "shards": .list(shards.map { .object(fields(of: $0, moves)) }),
            ], next: next(hasProblem: hasProblem, moves), exitCode: hasProblem ? 3 : 0)
    }

    private func next(hasProblem: Bool, _ moves: Cluster.MoveSummary) -> String {
        if hasProblem { return "shardctl doctor" }
        return moves.openMoves > 0 ? "shardctl move list" : "shardctl ring show"
    }

    private func fields(
        of status: Cluster.ShardStatus, _ moves: Cluster.MoveSummary
    ) -> [String: JSONValue] {
        let part = moves.parts[status.shard.id] ?? .init()
        return [
            "name": .text(status.shard.name), "state": .text(status.shard.state.rawValue),
            "slots": .number(status.slots),
            "slotsAtShard": status.slotsAtShard.map { .number($0) } ?? .null,
            "schema": status.schemaVersion.map { .number($0) } ?? .null,
            "lastVerified": part.lastVerified.map { .text($0.rfc3339) } ?? .null,
            "oldCopies": .number(part.oldCopies),
            "problem": status.problem.map { .text($0) } ?? .null,
        ]
    }

    // MARK: - Hot rooms

    private func report(_ outcome: HotRooms.Outcome) -> Report {
        let header = ["ROOM", "SLOT", "SHARD", "MESSAGES/S", "ROWS", "MIB"]
        let away = outcome.away.sorted { $0.key < $1.key }
        let hottest = outcome.rooms.first { $0.messagesPerSecond > 0 }?.room
        return Report(
            lines: table([header] + outcome.rooms.map { cells($0, $0.room ?? "") }) + [""]
                + table(
                    [["ROOMS"] + header.dropFirst()]
                        + outcome.slots.map { cells($0, "\($0.rooms)") })
                + away.map { "warning: shard \($0.key) does not answer: \($0.value)" },
            json: [
                "seconds": .number(seconds),
                "rooms": .list(outcome.rooms.map { .object(fields(of: $0)) }),
                "slots": .list(outcome.slots.map { .object(fields(of: $0)) }),
                "away": .list(away.map { .text($0.key) }),
            ],
            next: hottest.map { "shardctl room locate '\($0)'" } ?? "shardctl status",
            exitCode: away.isEmpty ? 0 : 3)
    }

    private func cells(_ load: HotRooms.Load, _ first: String) -> [String] {
        [
            first, "\(load.slot)", load.shard, "\(tenths(load.messagesPerSecond))",
            "\(load.rows)", "\(tenths(Double(load.bytes) / 1_048_576))",
        ]
    }

    private func tenths(_ value: Double) -> Double { (value * 10).rounded() / 10 }

    private func fields(of load: HotRooms.Load) -> [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "slot": .number(load.slot.number), "shard": .text(load.shard),
            "messagesPerSecond": .decimal(tenths(load.messagesPerSecond)),
            "rows": .number(load.rows), "bytes": .number(load.bytes),
        ]
        if let room = load.room {
            fields["room"] = .text(room)
        } else {
            fields["rooms"] = .number(load.rooms)
        }
        return fields
    }
}
