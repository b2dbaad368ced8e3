import BenchKit

/// What a connection costs that is only there: joined, with presence and heartbeats running.
struct IdlePhase {
    let stage: ChatStage

    func run(_ report: inout Report) async throws {
        let crowd = stage.extent.crowd
        for (rooms, target) in [(crowd / 10, Figure.Target.atMost(8)), (10, .atMost(8))] {
            let subject = try await stage.chatServer()
            let clients = try stage.load(subject, clients: crowd)
            let before = try subject.memory
            let joined = try clients.join(crowd, rooms: rooms)
            let outcome = try clients.run("idle \(stage.extent.beatSeconds)")
            let after = try subject.memory
            if let wrong = outcome.violation() { stage.check(false, "idle: \(wrong)") }
            try clients.end()
            try await subject.daemon.stop()
            func each(_ before: Double, _ after: Double) -> Double {
                (after - before) / Double(crowd) / 1_024
            }
            report.add(
                Figure(
                    name: "\(crowd) connections in \(rooms) rooms, RSS of each",
                    ours: each(before.resident, after.resident), unit: "KiB", target: target,
                    note: "PSS \(short(each(before.proportional, after.proportional))) KiB; "
                        + "joined in \(short(joined.seconds)) s; "
                        + "\(short(before.resident / 1_048_576)) MiB before"))
        }
    }
}
