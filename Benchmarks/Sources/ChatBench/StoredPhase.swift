import BenchKit

/// Many writers in many rooms of two shards: messages a second that are acknowledged as stored, and
/// how long that takes when half as many come, and when half of the target does. Nothing is kept on
/// a core.
struct StoredPhase {
    let stage: ChatStage

    /// Each with one message on its way at a time: more than both shards have in their batches.
    private static let writers = 2_000
    private static let rooms = 1_000
    private static let target = 10_000.0

    func run(_ report: inout Report) async throws {
        try stage.pinDatabases(false)
        let subject = try await stage.chatServer(isPinned: false)
        let clients = try stage.load(subject, clients: Self.writers, isPinned: false)
        _ = try clients.join(Self.writers, rooms: Self.rooms)
        let (warm, seconds) = (stage.extent.warmSeconds, stage.extent.seconds * 1.5)
        var (rates, p50, p99, halves) = ([Double](), [Double](), [Double](), [Double]())
        var named: [Double] = []
        for round in 1...stage.extent.rounds {
            let most = try clients.run("closed \(warm + 1) \(seconds) 20")
            report.note("stored, saturated", subject.name, round, most)
            check(most)
            let rate = Double(most.window.stored) / most.seconds
            let half = try clients.run("open \(rate / 2) \(warm) \(seconds) 20")
            report.note("stored, half", subject.name, round, half)
            check(half)
            let asked = try clients.run("open \(Self.target / 2) \(warm) \(seconds) 20")
            report.note("stored, half of the target", subject.name, round, asked)
            check(asked)
            named.append(Double(asked.ack.p99) / 1_000)
            rates.append(rate)
            halves.append(Double(half.window.stored) / half.seconds)
            p50.append(Double(half.ack.p50) / 1_000)
            p99.append(Double(half.ack.p99) / 1_000)
        }
        try clients.end()
        try await subject.daemon.stop()
        report.add(
            Figure(
                name: "messages acknowledged as stored", ours: median(rates), unit: "/s",
                target: .atLeast(Self.target),
                note: "\(Self.writers) writers, \(Self.rooms) rooms, 2 shards"))
        report.add(Figure(name: "stored p50 at half of that", ours: median(p50), unit: "ms"))
        report.add(
            Figure(
                name: "stored p99 at half of that", ours: median(p99), unit: "ms",
                target: .atMost(20), note: "at \(short(median(halves))) messages/s"))
        report.add(
            Figure(
                name: "stored p99 at half of the target", ours: median(named), unit: "ms",
                target: .atMost(20), note: "at \(short(Self.target / 2)) messages/s"))
    }

    private func check(_ outcome: ChatClients.Outcome) {
        if let wrong = outcome.violation() { stage.check(false, "stored: \(wrong)") }
    }
}
