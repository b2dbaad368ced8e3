import BenchKit
import ShardRouter

/// What the proof of ownership and the numbers without holes cost the server.
struct SafetyPhase {
    let stage: Stage
    /// What the router's batches hold when it is busy.
    let batch = 64.0

    func run(_ report: inout Report) async throws {
        var runs: [String: [Run]] = [:]
        for round in 0..<stage.plan.rounds {
            for variant in ScratchSchema.variants {
                let run = try stage.append(
                    stage.one, variant.kind, sql: variant.sql, batch: batch)
                runs[variant.name, default: []].append(run)
                report.note("safety", variant.name, round: round, run)
            }
        }
        let plain = (runs["plain"] ?? []).map(\.serverCPUPerMillion)
        let names = [
            "ownership": "+ ownership", "seq": "+ seq", "all": "append_messages",
            "new": "append_new",
        ]
        for variant in ScratchSchema.variants.dropFirst() {
            report.compare(
                "3 server CPU: \(names[variant.name] ?? variant.name), plain batch",
                ours: (runs[variant.name] ?? []).map(\.serverCPUPerMillion), rival: plain,
                unit: "s/Mrow", target: nil,
                note: "\(short(median((runs[variant.name] ?? []).map(\.rowsPerSecond)))) rows/s, "
                    + "plain \(short(median((runs["plain"] ?? []).map(\.rowsPerSecond))))")
        }
    }
}
