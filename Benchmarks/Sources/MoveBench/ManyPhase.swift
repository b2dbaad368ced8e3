import BenchKit
import Postgres
import ShardOperations
import ShardRouter

/// Small moves in a row, there and back: how long each takes, and that nothing grows.
struct ManyPhase {
    let stage: MoveStage
    /// As many slots as take part.
    private let slots = 10

    func run(_ report: inout Report) async throws {
        let cluster = try await stage.cluster("many", shards: 2, owning: 1)
        try await DataSet(rows: 1_000, rooms: 200, slots: Array(0..<400))
            .fill(cluster.databases.shards[0])
        try await cluster.settle()
        let chosen = try await withDatabase(cluster.databases.shards[0].connectionString) {
            try await $0.query(
                """
                select distinct shard.slot_of(room_id)::int8 from public.rooms
                order by 1 limit $1
                """, [slots], deadline: .now + .seconds(20))
        }.map { try $0.get(0, as: Int.self) }
        let count = stage.extent.smallMoves
        // The first ones fill caches and make whatever there is only one of.
        let early = max(2 * slots, count / 10)
        var milliseconds: [Double] = []
        var lifts = 0
        var phases: [MovePhase: [Double]] = [:]
        var sizes: [Leftovers] = []
        for number in 0..<count {
            let slot = chosen[number % chosen.count]
            let goes = number / chosen.count % 2 == 0
            let start = ContinuousClock.now
            let (move, log) = try await moved(
                [slot], from: goes ? 1 : 2, to: goes ? 2 : 1, in: cluster.operations)
            milliseconds.append((.now - start).seconds * 1_000)
            lifts += move.lifts
            for phase in MovePhase.allCases {
                phases[phase, default: []].append(log.time(in: phase).seconds * 1_000)
            }
            if number + 1 == early { sizes.append(try await Leftovers(cluster.databases)) }
        }
        sizes.append(try await Leftovers(cluster.databases))
        report.series["many: a move, ms"] = milliseconds
        let sorted = milliseconds.sorted()
        report.add(
            Figure(
                name: "many: a move of one slot, p50", ours: percentile(0.5, of: sorted),
                unit: "ms",
                note: "p99 \(short(percentile(0.99, of: sorted))) ms, "
                    + "\(count) moves, \(lifts) lifted fences"))
        let longest = phases.mapValues { median($0) }.sorted { $0.value > $1.value }
        for (phase, time) in longest.prefix(4) {
            report.add(
                Figure(name: "many:   of it \(phase.rawValue), p50", ours: time, unit: "ms"))
        }
        let tenth = max(1, count / 10)
        let first = median(Array(milliseconds.prefix(tenth)))
        let last = median(Array(milliseconds.suffix(tenth)))
        report.add(
            Figure(
                name: "many: the last tenth beside the first",
                ratio: last / first, ours: last, rival: first, unit: "ms"))
        tell(sizes[0], sizes[1], moves: count - early, &report)
    }

    private func tell(
        _ early: Leftovers, _ late: Leftovers, moves: Int, _ report: inout Report
    ) {
        let note = "rival: \(moves) moves before"
        for (name, value) in late.counts {
            report.add(
                Figure(
                    name: "many: \(name)", ours: value, rival: early.count(name), unit: "",
                    target: .atMost(early.count(name)), note: note))
        }
        for (name, value) in late.bytes {
            let before = early.size(name)
            report.add(
                Figure(
                    name: "many: \(name)", ratio: value / max(1, before), ours: value / 1_024,
                    rival: before / 1_024, unit: "KiB",
                    target: Leftovers.journals.contains(name) ? nil : .atMost(1.1),
                    note: Leftovers.journals.contains(name) ? "one row for each move" : note))
        }
    }
}
