import BenchKit
import Postgres
import ShardRouter

/// Durable writes beside a bare batch client and beside single rows.
struct WritePhase {
    let stage: Stage

    func run(_ report: inout Report) async throws {
        for cluster in [stage.one, stage.two] {
            for callers in [64, 256, 1_024] { try await run(cluster, callers, &report) }
        }
    }

    private func run(
        _ cluster: BenchCluster, _ callers: Int, _ report: inout Report
    ) async throws {
        let name = "store, \(cluster.shards.count) shard(s), \(callers) callers"
        var (ours, bare, single): ([Run], [Run], [Run]) = ([], [], [])
        for round in 0..<stage.plan.rounds {
            ours.append(try await measured(cluster, callers))
            let batch = ours[round].batchRows ?? 1
            bare.append(try stage.append(cluster, batch: batch))
            single.append(try stage.insert(cluster))
            report.note(name, "router", round: round, ours[round])
            report.note(name, "bare batch", round: round, bare[round])
            report.note(name, "bare single row", round: round, single[round])
        }
        let batch = "batches of \(short(median(ours.compactMap(\.batchRows)))) rows"
        report.compare(
            "2 \(name), bare batches", ours: ours.map(\.rowsPerSecond),
            rival: bare.map(\.rowsPerSecond), unit: "rows/s", target: .atLeast(0.8), note: batch)
        report.compare(
            "2 \(name), single rows", ours: ours.map(\.rowsPerSecond),
            rival: single.map(\.rowsPerSecond), unit: "rows/s", target: .atLeast(5))
        report.compare(
            "2   client CPU", ours: ours.map(\.clientCPUPerMillion),
            rival: bare.map(\.clientCPUPerMillion), unit: "s/Mrow", target: nil)
        report.compare(
            "2   server CPU", ours: ours.map(\.serverCPUPerMillion),
            rival: bare.map(\.serverCPUPerMillion), unit: "s/Mrow", target: nil)
    }

    /// One run of the router, with the size of its batches as the shards saw them.
    private func measured(_ cluster: BenchCluster, _ callers: Int) async throws -> Run {
        let start = Timestamp.now
        var run = try await withRouter(cluster) {
            try await storeLoad($0, callers: callers, plan: stage.plan, watching: cluster)
        }
        var (rows, batches) = (0, 0)
        for shard in cluster.shards {
            let counts = try await withDatabase(shard.connectionString) {
                try await $0.query(
                    """
                    select count(*), count(distinct xmin::text) from public.messages
                    where received_at >= $1
                    """, [start], deadline: .now + .seconds(60))[0]
            }
            rows += try counts.get(0, as: Int.self)
            batches += try counts.get(1, as: Int.self)
        }
        guard rows == run.allRows else {
            throw BenchError(description: "\(run.allRows) rows were stored, \(rows) are there")
        }
        run.batchRows = Double(rows) / Double(max(1, batches))
        return run
    }
}

extension Run {
    var clientCPUPerMillion: Double { cpuSeconds / Double(max(1, allRows)) * 1e6 }
    var serverCPUPerMillion: Double { (serverCPUSeconds ?? 0) / Double(max(1, allRows)) * 1e6 }
}
