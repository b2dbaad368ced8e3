import BenchKit

/// What one way of migrating did to the queries, in all rounds.
struct ImpactFigures {
    let name: String
    let outcomes: [ImpactPhase.Outcome]

    /// - Parameter isOurs: whether it has targets.
    func tell(isOurs: Bool, _ report: inout Report) {
        let percentiles: [(String, @Sendable (QueryLedger.Latencies) -> Double)] = [
            ("p50", \.p50), ("p99", \.p99), ("p99.9", \.p999), ("longest", \.longest),
        ]
        let count = outcomes.map(\.during.count).reduce(0, +)
        for (title, value) in percentiles {
            let before = outcomes.map { value($0.before) }
            let during = outcomes.map { value($0.during) }
            report.series["impact: \(name), \(title) before, ms"] = before
            report.series["impact: \(name), \(title), ms"] = during
            report.add(
                Figure(
                    name: "impact: \(name), \(title)", ours: median(during),
                    rival: median(before), unit: "ms",
                    note: title == "p50" ? "rival: before; \(count) queries" : "rival: before"))
        }
        let added = outcomes.map { $0.during.p99 - $0.before.p99 }
        report.add(
            Figure(
                name: "impact: \(name), added p99", ours: median(added), unit: "ms",
                target: isOurs ? .atMost(100) : nil))
        let failed = outcomes.map { $0.during.failed + $0.before.failed }.reduce(0, +)
        report.add(
            Figure(
                name: "impact: \(name), failed queries", ours: Double(failed), unit: "",
                target: isOurs ? .atMost(0) : nil,
                note: outcomes.lazy.compactMap(\.errors.first).first ?? ""))
        let seconds = outcomes.map(\.seconds)
        report.series["impact: \(name), s"] = seconds
        report.add(
            Figure(
                name: "impact: \(name), took", ours: median(seconds), unit: "s",
                note: "\(outcomes.map { "\($0.attempts)" }.joined(separator: ", ")) attempts"))
    }
}
