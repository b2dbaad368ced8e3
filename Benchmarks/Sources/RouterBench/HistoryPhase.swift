import BenchKit
import ShardRouter

/// A page of 50 messages beside the bare query.
struct HistoryPhase {
    let stage: Stage

    func run(_ report: inout Report) async throws {
        let bareClient = BareClient(
            kind: .page, places: stage.one.shards.map(\.connectionString),
            sql: ScratchSchema.pageSQL, batch: 50, roomSQL: ScratchSchema.pageRoomSQL)
        var (ours, bare): ([Run], [Run]) = ([], [])
        for round in 0..<stage.plan.rounds {
            ours.append(
                try await withRouter(stage.one) {
                    try await pageLoad($0, plan: stage.plan, watching: stage.one)
                })
            bare.append(try bareClient.run(stage.plan, watching: stage.one))
            report.note("page of 50", "router", round: round, ours[round])
            report.note("page of 50", "bare query", round: round, bare[round])
        }
        report.compare(
            "6 page of 50, p50, bare query", ours: ours.map(\.p50), rival: bare.map(\.p50),
            unit: "µs", target: .atMost(1.25),
            note:
                "client CPU µs/page: ours \(short(median(ours.map(\.clientCPUPerMillion)) * 50)), "
                + "bare \(short(median(bare.map(\.clientCPUPerMillion)) * 50))")
    }
}
