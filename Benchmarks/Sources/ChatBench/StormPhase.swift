import BenchKit

/// All clients are cut at once while somebody writes to them: how long until all are back and have
/// everything, and whether a shard had to be asked for it.
struct StormPhase {
    let stage: ChatStage

    func run(_ report: inout Report) async throws {
        let crowd = stage.extent.crowd
        let rooms = crowd / 10
        let subject = try await stage.chatServer()
        let clients = try stage.load(subject, clients: crowd + rooms)
        _ = try clients.join(crowd, rooms: rooms)
        // One more in each room, who stays and writes.
        _ = try clients.join(rooms, rooms: rooms)
        _ = try clients.run("idle 8")
        var (joined, whole, reads, cpu) = ([Double](), [Double](), [Double](), [Double]())
        for round in 1...stage.extent.rounds {
            let before = try shardReads(subject)
            let outcome = try clients.run("storm \(crowd) 60")
            reads.append(try shardReads(subject) - before)
            stage.check(
                outcome.wholeClients == crowd && outcome.joinedSeconds ?? -1 >= 0,
                "storm \(round): only \(outcome.wholeClients ?? 0) of \(crowd) clients are whole")
            if let wrong = outcome.violation(isOverloaded: true) {
                stage.check(false, "storm \(round): \(wrong)")
            }
            joined.append(outcome.joinedSeconds ?? -1)
            whole.append(outcome.wholeSeconds ?? -1)
            cpu.append(outcome.cpu["server"] ?? 0)
            let twice = outcome.whole.duplicates
            print(
                "  storm, round \(round): \(outcome.whole.joins) joins, "
                    + "\(outcome.whole.failed) tries failed, \(outcome.whole.syncs) syncs, "
                    + "\(twice) messages twice, server \(short(cpu.last ?? 0)) s of CPU")
            _ = try clients.run("idle 4")
        }
        try clients.end()
        try await subject.daemon.stop()
        report.add(
            Figure(
                name: "\(crowd) clients cut: all joined again after", ours: median(joined),
                unit: "s", note: "they come back within 0.2–5 s, as the server tells them"))
        report.add(
            Figure(
                name: "and have what was said meanwhile after", ours: median(whole), unit: "s",
                target: .atMost(10)))
        report.add(
            Figure(
                name: "reads of a shard meanwhile", ours: reads.max() ?? 0, unit: "",
                target: .atMost(0), note: "the most of all rounds"))
        report.add(
            Figure(name: "CPU of the server for a storm", ours: median(cpu), unit: "s"))
    }

    /// Windows that were filled or mended, and pages of history.
    private func shardReads(_ subject: ChatSubject) throws -> Double {
        try subject.metric("chatd_window_reads_total")
    }
}
