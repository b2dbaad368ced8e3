import BenchKit
import Foundation
import Postgres
import ShardOperations
import ShardRouter

/// Moves there and back while chat goes on: what callers notice of it.
struct PausePhase {
    let stage: MoveStage
    private let rooms = 400
    private let perSecond = 2_000.0

    /// One move as it happened, by the monotonic clock.
    struct Moved {
        /// The place of its rooms among the probes.
        var place: Int
        var target: Int
        var start: Int64
        var end: Int64
        var copying: ClosedRange<Int64>
        var lifts: Int
        var pauseMilliseconds: Double?
        var rows: Int64
    }

    /// Everything that was measured.
    struct Outcome {
        var moves: [Moved] = []
        var quiet: ClosedRange<Int64> = 0...0
        var ledger: [Acknowledgement] = []
        var errors: [String] = []
        var settings: LoadSettings
        var topology: Topology
        /// The slots that moved.
        var slots: Set<Int>
    }

    func run(_ report: inout Report) async throws {
        let cluster = try await stage.cluster("pause", shards: 2, owning: 2)
        let topology = try await cluster.operations.topology()
        let size = stage.extent.slotsPerMove
        let mine = topology.slots(of: 1).prefix(stage.extent.moves * size)
        let sets = (0..<stage.extent.moves).map { Array(mine[$0 * size..<($0 + 1) * size]) }
        // Half of the rows: they go there and come back.
        let data = DataSet(
            rows: stage.extent.rows / 2, rooms: stage.extent.rows / 20, slots: Array(mine))
        try await data.fill(cluster.databases.shards[0])
        try await cluster.settle()
        let servers = try ChatServers.start(cluster.databases, below: stage.folder)
        try await servers?.ready()
        let settings = LoadSettings(
            catalog: cluster.databases.catalog.server.place(
                cluster.databases.catalog.database, user: "chatd"),
            servers: servers?.ports ?? [], rooms: (0..<rooms).map { "load-\($0)" },
            perSecond: perSecond, probes: sets.map { probe($0, topology) },
            readRooms: sets.map { readRooms($0, topology, of: data.rooms) },
            output: "\(stage.folder)/load")
        var outcome = Outcome(settings: settings, topology: topology, slots: Set(mine))
        try await load(sets, cluster, &outcome)
        try await servers?.stop()
        let check = try await LedgerCheck(outcome, cluster.databases)
        tell(outcome, check, &report)
    }

    private func load(
        _ sets: [[Int]], _ cluster: MovingCluster, _ outcome: inout Outcome
    ) async throws {
        let load = try LoadProcess(outcome.settings)
        try await Task.sleep(for: .seconds(2))
        let begin = monotonic()
        try await Task.sleep(for: .seconds(stage.extent.quietSeconds))
        outcome.quiet = begin...monotonic()
        for (source, target) in [(1, 2), (2, 1)] {
            for (place, slots) in sets.enumerated() {
                try load.probe(place)
                // The last second of it is the probe's window before the move.
                try await Task.sleep(for: .milliseconds(1_300))
                let start = monotonic()
                let (move, log) = try await moved(
                    slots, from: source, to: target, in: cluster.operations)
                let end = monotonic()
                let copying = log.begin(.connecting).map { monotonic($0) } ?? start
                outcome.moves.append(
                    Moved(
                        place: place, target: target, start: start, end: end,
                        copying: copying...(log.begin(.catchingUp).map { monotonic($0) } ?? end),
                        lifts: move.lifts, pauseMilliseconds: move.pauseMilliseconds,
                        rows: move.rows ?? 0))
                try await Task.sleep(for: .milliseconds(600))
            }
        }
        (outcome.ledger, outcome.errors) = try load.finish()
    }

    /// A room in `slots`.
    private func probe(_ slots: [Int], _ topology: Topology) -> String {
        let (wanted, hash) = (Set(slots), topology.ringHash)
        for number in 0... {
            let name = "probe-\(number)"
            if wanted.contains(hash.slot(of: RoomID(name)).number) { return name }
        }
        preconditionFailure("every slot has a room")
    }

    /// Rooms of the data set in `slots`: the biggest ones.
    private func readRooms(_ slots: [Int], _ topology: Topology, of count: Int) -> [String] {
        let (wanted, hash) = (Set(slots), topology.ringHash)
        let names = (1...count).lazy.map(DataSet.roomName)
            .filter { wanted.contains(hash.slot(of: RoomID($0)).number) }
        return Array(names.prefix(50))
    }

    private func tell(_ outcome: Outcome, _ check: LedgerCheck, _ report: inout Report) {
        let way =
            outcome.settings.servers.isEmpty
            ? "two routers in one process (no chatd or Redis is there)"
            : "two chatd, \(rooms) sockets"
        let moves = outcome.moves
        let last = moves.last?.end ?? 0
        let loaded = outcome.ledger.filter {
            $0.kind == Acknowledgement.Kind.load.rawValue
                && $0.at >= outcome.quiet.lowerBound && $0.at <= last
        }
        let seconds = Double(last - outcome.quiet.lowerBound) / 1e9
        report.add(
            Figure(
                name: "pause: stored messages while moving",
                ours: Double(loaded.count) / seconds, unit: "/s", note: "through \(way)"))
        report.add(
            Figure(
                name: "pause: rows moved",
                ours: Double(moves.map(\.rows).reduce(0, +)), unit: "rows",
                target: .atLeast(Double(stage.extent.rows)),
                note: "\(moves.count) moves of \(stage.extent.slotsPerMove) slots, there and back"))
        report.add(
            Figure(
                name: "pause: errors seen by callers", ours: Double(outcome.errors.count),
                unit: "", target: .atMost(0), note: outcome.errors.first ?? ""))
        for (name, count) in [
            ("lost", check.lost), ("doubled", check.doubled), ("out of order", check.disordered),
        ] {
            report.add(
                Figure(
                    name: "pause: acknowledged messages \(name)", ours: Double(count), unit: "",
                    target: .atMost(0), note: "of \(check.acknowledged)"))
        }
        PauseFigures(outcome: outcome).tell(&report)
    }
}
