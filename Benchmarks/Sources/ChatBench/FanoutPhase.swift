import BenchKit
import Foundation

/// One room of a thousand readers, and a hundred of ten: how many deliveries a second of the
/// server's CPU gives, and how long they take when it is half busy.
///
/// Every reader is also a writer, in turn. Real messages: stored, acknowledged, delivered. The
/// databases share the core of the load.
struct FanoutPhase {
    let stage: ChatStage

    private struct Shape {
        var name: String
        var rooms: Int
        /// Messages a second, of all rooms together.
        var rates: [Double]

        static let readers = 1_000
        var readersOfRoom: Int { Self.readers / rooms }
    }

    /// What one server did with one shape in one round.
    private struct Sweep {
        /// By rate.
        var perCPUSecond: [Double: Double] = [:]
        /// The most that was delivered in a second, and what a second of CPU gave there.
        var deliveriesPerSecond = 0.0
        var atSaturation = 0.0
        var serverShare = 0.0
        var postgresMicroseconds = 0.0
        var (p50, p99, lateness) = (0.0, 0.0, 0.0)
        var frameBytes = 0

        mutating func take(_ outcome: ChatClients.Outcome, _ rate: Double) {
            let server = outcome.cpu["server"] ?? 0
            let perSecond = Double(outcome.window.deliveries) / max(server, 0.01)
            perCPUSecond[rate] = perSecond
            frameBytes = outcome.frameBytes
            guard outcome.deliveriesPerSecond > deliveriesPerSecond else { return }
            deliveriesPerSecond = outcome.deliveriesPerSecond
            atSaturation = perSecond
            serverShare = server / outcome.seconds
            postgresMicroseconds =
                (outcome.cpu["postgres"] ?? 0) / Double(max(outcome.window.stored, 1)) * 1e6
        }
    }

    private static let shapes = [
        Shape(
            name: "1 room of 1,000", rooms: 1,
            rates: [100, 200, 300, 400, 600, 800, 1_000, 1_500, 2_000]),
        Shape(
            name: "100 rooms of 10", rooms: 100,
            rates: [300, 1_000, 2_000, 3_000, 4_000, 6_000, 8_000, 12_000]),
    ]
    /// The rate of the target.
    private static let named = 1_000.0

    func run(_ report: inout Report) async throws {
        try stage.pinDatabases(true)
        var ours: [String: [Sweep]] = [:]
        var rivals: [String: [Sweep]] = [:]
        for round in 1...stage.extent.rounds {
            for shape in Self.shapes {
                for isOurs in round.isMultiple(of: 2) ? [false, true] : [true, false] {
                    guard let subject = try await subject(isOurs, round) else { continue }
                    let sweep = try sweep(subject, shape, round, &report)
                    try await subject.daemon.stop()
                    if isOurs {
                        ours[shape.name, default: []].append(sweep)
                    } else {
                        rivals[shape.name, default: []].append(sweep)
                    }
                }
            }
        }
        for shape in Self.shapes {
            add(shape.name, ours[shape.name] ?? [], rivals[shape.name] ?? [], &report)
        }
        try stage.pinDatabases(false)
    }

    private func subject(_ isOurs: Bool, _ round: Int) async throws -> ChatSubject? {
        if isOurs { return try await stage.chatServer() }
        let rival = try await stage.rivalServer()
        if rival == nil, round == 1 {
            print("  the Python library websockets is not in .venv: there is no rival")
        }
        return rival
    }

    private func sweep(
        _ subject: ChatSubject, _ shape: Shape, _ round: Int, _ report: inout Report
    ) throws -> Sweep {
        let clients = try stage.load(subject, clients: Shape.readers)
        _ = try clients.join(Shape.readers, rooms: shape.rooms)
        var sweep = Sweep()
        var isKept = true
        for rate in shape.rates where isKept {
            let outcome = try measure(clients, subject, shape, rate, round, &report)
            isKept = Self.isKept(outcome, rate * Double(shape.readersOfRoom))
            check(outcome, subject, shape, rate, isOverloaded: !isKept)
            sweep.take(outcome, rate)
        }
        try measureHalf(clients, subject, shape, round, &sweep, &report)
        // Last, because it may leave a server behind that is busy for long.
        if sweep.perCPUSecond[Self.named] == nil {
            let outcome = try measure(clients, subject, shape, Self.named, round, &report)
            check(outcome, subject, shape, Self.named, isOverloaded: true)
            sweep.take(outcome, Self.named)
        }
        try clients.end()
        return sweep
    }

    /// Whether the server has kept up with `offered` deliveries a second.
    private static func isKept(_ outcome: ChatClients.Outcome, _ offered: Double) -> Bool {
        outcome.deliveriesPerSecond > 0.97 * offered && outcome.delivery.p99 < 1_000_000
    }

    /// - Note: A rival that is asked too much need not come to an end.
    private func check(
        _ outcome: ChatClients.Outcome, _ subject: ChatSubject, _ shape: Shape, _ rate: Double,
        isOverloaded: Bool
    ) {
        if isOverloaded, !subject.isOurs { return }
        guard let wrong = outcome.violation(isOverloaded: isOverloaded) else { return }
        stage.check(false, "\(subject.name), \(shape.name), \(Int(rate))/s: \(wrong)")
    }

    private func measureHalf(
        _ clients: ChatClients, _ subject: ChatSubject, _ shape: Shape, _ round: Int,
        _ sweep: inout Sweep, _ report: inout Report
    ) throws {
        let rate = sweep.deliveriesPerSecond / Double(shape.readersOfRoom) / 2
        let outcome = try measure(clients, subject, shape, rate, round, &report)
        check(outcome, subject, shape, rate, isOverloaded: false)
        sweep.p50 = Double(outcome.delivery.p50) / 1_000
        sweep.p99 = Double(outcome.delivery.p99) / 1_000
        sweep.lateness = Double(outcome.lateness.p99) / 1_000
    }

    private func measure(
        _ clients: ChatClients, _ subject: ChatSubject, _ shape: Shape, _ rate: Double,
        _ round: Int, _ report: inout Report
    ) throws -> ChatClients.Outcome {
        let outcome = try clients.run(
            "open \(rate) \(stage.extent.warmSeconds) \(stage.extent.seconds) 60")
        report.note(
            "fanout \(shape.name) \(Int(rate))/s", subject.name, round, outcome)
        return outcome
    }

    private func add(
        _ shape: String, _ ours: [Sweep], _ rivals: [Sweep], _ report: inout Report
    ) {
        func add(
            _ name: String, _ value: (Sweep) -> Double, _ unit: String,
            _ target: Figure.Target? = nil, _ note: String = ""
        ) {
            let rival = rivals.isEmpty ? nil : median(rivals.map(value))
            let own = median(ours.map(value))
            let ratio = rival.flatMap { $0 > 0 ? "\(short(own / $0)) × the rival" : nil }
            report.add(
                Figure(
                    name: "\(shape): \(name)", ours: own, rival: rival, unit: unit,
                    target: target,
                    note: [ratio, note.isEmpty ? nil : note].compactMap(\.self)
                        .joined(separator: "; ")))
        }
        let frame = "frames of \(ours.last?.frameBytes ?? 0) bytes"
        add(
            "deliveries, 1,000 messages/s", { $0.perCPUSecond[Self.named] ?? 0 }, "/CPU-s",
            .atLeast(300_000), frame)
        add("deliveries at saturation", \.atSaturation, "/CPU-s", .atLeast(300_000))
        add("deliveries a second at saturation", \.deliveriesPerSecond, "/s")
        add("the server's core at saturation", { $0.serverShare * 100 }, "% busy")
        add("delivery p50 at half of that", \.p50, "ms")
        add(
            "delivery p99 at half of that", \.p99, "ms", .atMost(20),
            "sent late by up to \(short(median(ours.map(\.lateness)))) ms (p99)")
        report.add(
            Figure(
                name: "\(shape): PostgreSQL for each message",
                ours: median(ours.map(\.postgresMicroseconds)), unit: "µs CPU",
                note: "at saturation, on the core of the load"))
    }
}

extension Report {
    /// Keeps a run, and prints it in a line of its own.
    mutating func note(
        _ name: String, _ subject: String, _ round: Int, _ outcome: ChatClients.Outcome
    ) {
        let isDelivery = outcome.delivery.count > 0
        let times = isDelivery ? outcome.delivery : outcome.ack
        let server = outcome.cpu["server"] ?? 0
        note(
            name, subject, round: round,
            Run(
                rows: isDelivery ? outcome.window.deliveries : outcome.window.stored,
                allRows: isDelivery ? outcome.whole.deliveries : outcome.whole.stored,
                rowsPerSecond: outcome.deliveriesPerSecond, seconds: outcome.seconds,
                cpuSeconds: outcome.cpu["load"] ?? 0, p50: Double(times.p50),
                p99: Double(times.p99), serverCPUSeconds: server))
        func share(_ name: String) -> String {
            "\(Int((outcome.cpu[name] ?? 0) / outcome.seconds * 100)) %"
        }
        print(
            "  \(name), \(subject), round \(round): \(outcome.window.stored) stored, "
                + "\(Int(outcome.deliveriesPerSecond)) deliveries/s, "
                + "\(Int(Double(outcome.window.deliveries) / max(server, 0.01)))/CPU-s; "
                + "p50 \(short(Double(times.p50) / 1_000)) "
                + "p99 \(short(Double(times.p99) / 1_000)) ms; "
                + "ack p99 \(short(Double(outcome.ack.p99) / 1_000)) ms; "
                + "server \(share("server")), load \(share("load")), "
                + "postgres \(share("postgres")), others \(Int(outcome.othersShare * 100)) %; "
                + "skipped \(outcome.whole.skipped), "
                + "twice \(outcome.whole.duplicates), queued \(outcome.whole.queued), "
                + "errors \(outcome.whole.errors)")
    }
}
