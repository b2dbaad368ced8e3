import BenchKit
import ShardRouter

/// How long one caller waits, alone and under half of the highest load.
struct LatencyPhase {
    let stage: Stage

    func run(_ report: inout Report) async throws {
        try await alone(&report)
        try await underHalfLoad(&report)
    }

    private func alone(_ report: inout Report) async throws {
        var (ours, bare): ([Run], [Run]) = ([], [])
        for round in 0..<stage.plan.rounds {
            ours.append(
                try await withRouter(stage.one) {
                    try await storeLoad($0, callers: 1, plan: stage.plan, watching: stage.one)
                })
            bare.append(try stage.insert(stage.one))
            report.note("one caller", "router", round: round, ours[round])
            report.note("one caller", "bare insert", round: round, bare[round])
        }
        report.compare(
            "4 one caller, p50, bare insert", ours: ours.map(\.p50), rival: bare.map(\.p50),
            unit: "µs", target: .atMost(1.25))
        report.compare(
            "4 one caller, p99, bare insert", ours: ours.map(\.p99), rival: bare.map(\.p99),
            unit: "µs", target: nil)
    }

    private func underHalfLoad(_ report: inout Report) async throws {
        var runs: [Run] = []
        var rates: [Double] = []
        for round in 0..<stage.plan.rounds {
            let (most, half) = try await withRouter(stage.one) { router in
                let most = try await storeLoad(
                    router, callers: 256, plan: stage.plan, watching: stage.one)
                let half = try await openLoop(
                    router, rate: most.rowsPerSecond / 2, plan: stage.plan, watching: stage.one)
                return (most, half)
            }
            runs.append(half)
            rates.append(most.rowsPerSecond / 2)
            report.note("half load", "highest load", round: round, most)
            report.note("half load", "half", round: round, half)
        }
        report.add(
            Figure(
                name: "4 p99 under half of the highest load", ours: median(runs.map(\.p99)) / 1_000,
                unit: "ms", target: .atMost(20),
                note: "\(short(median(rates))) rows/s, "
                    + "p50 \(short(median(runs.map(\.p50)) / 1_000)) ms"))
    }
}
