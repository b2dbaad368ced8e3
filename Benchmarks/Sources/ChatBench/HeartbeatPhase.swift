import BenchKit

/// What the compact heartbeats of many clients cost, beside the same clients who keep still for a
/// moment.
struct HeartbeatPhase {
    let stage: ChatStage

    func run(_ report: inout Report) async throws {
        let crowd = stage.extent.crowd
        let subject = try await stage.chatServer()
        let clients = try stage.load(subject, clients: crowd)
        _ = try clients.join(crowd, rooms: crowd / 10)
        // The presence of those who have just come is told for a while.
        _ = try clients.run("idle 10")
        let seconds = min(stage.extent.beatSeconds, 18)
        var (beating, still, each) = ([Double](), [Double](), [Double]())
        for _ in 1...stage.extent.rounds {
            let loud = try clients.run("idle \(seconds)")
            try clients.say("beats 0")
            // Not so long that people are taken for gone: that would be told, and cost more.
            let quiet = try clients.run("idle 8")
            try clients.say("beats 1")
            for outcome in [loud, quiet] {
                if let wrong = outcome.violation() { stage.check(false, "heartbeats: \(wrong)") }
            }
            let (loudShare, quietShare) = (share(loud), share(quiet))
            beating.append(loudShare)
            still.append(quietShare)
            each.append(
                (loudShare - quietShare) / 100 * loud.seconds / Double(max(loud.window.beats, 1))
                    * 1e6)
            _ = try clients.run("idle 8")
        }
        try clients.end()
        try await subject.daemon.stop()
        report.add(
            Figure(
                name: "\(crowd) clients' heartbeats, the server's core", ours: median(beating),
                unit: "% busy", target: .atMost(5)))
        report.add(
            Figure(
                name: "the same clients keep still", ours: median(still), unit: "% busy"))
        report.add(
            Figure(name: "CPU of one heartbeat", ours: median(each), unit: "µs CPU"))
    }

    /// In percent of one core.
    private func share(_ outcome: ChatClients.Outcome) -> Double {
        (outcome.cpu["server"] ?? 0) / outcome.seconds * 100
    }
}
