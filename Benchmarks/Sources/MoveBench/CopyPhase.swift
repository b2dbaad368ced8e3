import BenchKit
import Postgres
import ShardOperations
import ShardRouter

/// The copy of a move beside two `psql` with a pipe between them, and what the verification adds.
struct CopyPhase {
    let stage: MoveStage

    /// One round, one after the other with the same rows.
    private struct Round {
        /// Messages per second.
        var ours: Double
        var baseline: Double
        /// Seconds.
        var copying: Double
        var verifying: Double
        var whole: Double
        var wasSlowed: Bool
    }

    /// With the throttle as it is, which slows a copy when commits take longer, and without.
    private enum Way: String, CaseIterable {
        case usual = "a move"
        case unslowed = "a move that nothing slows"
    }

    func run(_ report: inout Report) async throws {
        let cluster = try await stage.cluster("copy", shards: 2, owning: 1)
        let rows = try await DataSet(rows: stage.extent.rows, rooms: stage.extent.rows / 50)
            .fill(cluster.databases.shards[0])
        for place in 0..<2 {
            try await runScript(
                "create schema bench; create table bench.messages (like public.messages "
                    + "including all)", at: cluster.databases.shards[place].connectionString)
        }
        var rounds: [Way: [Round]] = [:]
        var source = 0
        for number in 0..<stage.extent.rounds {
            for way in Way.allCases {
                try await cluster.settle()
                rounds[way, default: []].append(
                    try await round(
                        cluster, from: source, rows: rows, way, isFirst: number % 2 == 0))
                // What waits for its purge would have to be wiped before the way back.
                try await cluster.empty(source)
                source = 1 - source
            }
        }
        for way in Way.allCases { tell(rounds[way] ?? [], way, rows, &report) }
    }

    private func round(
        _ cluster: MovingCluster, from source: Int, rows: Int, _ way: Way, isFirst: Bool
    ) async throws -> Round {
        let (one, other) = (
            cluster.databases.shards[source], cluster.databases.shards[1 - source]
        )
        func baseline() async throws -> Double {
            // Not by the name alone: Debian's wrapper takes a tenth of a second.
            let psql = "\(try binaries())/psql"
            let start = ContinuousClock.now
            try shell(
                """
                \(psql) -X -q '\(one.connectionString)' -c 'copy (select * from public.messages \
                order by room_id, seq) to stdout (format binary)' \
                | \(psql) -X -q '\(other.connectionString)' -v ON_ERROR_STOP=1 \
                -c 'copy bench.messages from stdin (format binary)'
                """)
            let seconds = (ContinuousClock.now - start).seconds
            let count: Int = try await withDatabase(other.connectionString) {
                try await $0.query(
                    "select count(*) from bench.messages", deadline: .now + .seconds(600))[0]
                    .get(0)
            }
            guard count == rows else {
                throw BenchError(description: "the baseline copied \(count) rows of \(rows)")
            }
            try await runScript("truncate bench.messages", at: other.connectionString)
            return Double(rows) / seconds
        }
        // Each is first in half of the rounds.
        var rate = isFirst ? try await baseline() : 0
        let topology = try await cluster.operations.topology()
        var limits = MoveLimits()
        // All slots at once take longer to switch than a fence may last; that is not measured here.
        limits.fence = .seconds(20)
        if way == .unslowed { limits.latencyAllowance = .seconds(60) }
        let (_, log) = try await moved(
            topology.slots(of: source + 1), from: source + 1, to: 2 - source,
            in: cluster.operations, limits: limits)
        if !isFirst { rate = try await baseline() }
        return Round(
            ours: Double(rows) / log.copying.seconds, baseline: rate,
            copying: log.copying.seconds, verifying: log.time(in: .verifying).seconds,
            whole: log.whole.seconds,
            wasSlowed: log.notes.contains { $0.hasPrefix("slowed") })
    }

    private func tell(_ rounds: [Round], _ way: Way, _ rows: Int, _ report: inout Report) {
        let name = "copy: \(way.rawValue)"
        report.series["\(name), rows/s"] = rounds.map(\.ours)
        report.series["\(name), psql | psql, rows/s"] = rounds.map(\.baseline)
        report.series["\(name), copying, s"] = rounds.map(\.copying)
        report.series["\(name), verifying, s"] = rounds.map(\.verifying)
        report.compare(
            "\(name), psql | psql", ours: rounds.map(\.ours), rival: rounds.map(\.baseline),
            unit: "rows/s", target: .atLeast(0.7),
            note: "\(rows) messages, \(rounds.count) rounds in turn, "
                + "\(rounds.count(where: \.wasSlowed)) of them slowed")
        report.add(
            Figure(
                name: "copy:   verification, part of the copy's time",
                ours: median(rounds.map { 100 * $0.verifying / $0.copying }), unit: "%",
                target: .atMost(10),
                note: "\(short(median(rounds.map(\.verifying)))) of "
                    + "\(short(median(rounds.map(\.copying)))) s; the whole move "
                    + "\(short(median(rounds.map(\.whole)))) s"))
    }
}
