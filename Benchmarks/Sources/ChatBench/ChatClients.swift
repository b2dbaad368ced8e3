import BenchKit
import Foundation

/// Thousands of clients, in a process of their own that is told what to do.
final class ChatClients {
    /// What came of one command.
    struct Outcome: Decodable {
        struct Window: Decodable {
            var sent, stored, deliveries, beats, reads, bytes: Int
        }
        struct Whole: Decodable {
            var sent, stored, queued, owed, deliveries: Int
            var skipped, healed, late, duplicates, foreign, renumbered, unknown: Int
            var errors, byes, closed, failed, syncs, wants, joins, beats: Int
        }
        /// In microseconds.
        struct Times: Decodable {
            var count, p50, p99, max: Int
        }

        /// Of the measured window.
        var seconds: Double
        var joined: Int
        /// Of the last message's payload.
        var frameBytes: Int
        /// What happened in the measured window.
        var window: Window
        /// The same with what came before and after it.
        var whole: Whole
        var delivery, ack, lateness: Times
        /// Seconds in the window: `load`, `server` and `postgres`, and `all` of the machine.
        var cpu: [String: Double]
        /// What servers complained of, to show.
        var complaint: String
        var settleSeconds: Double?
        var joinedSeconds, wholeSeconds: Double?
        var wholeClients: Int?

        /// What others did on the machine meanwhile, in cores.
        var othersShare: Double {
            let ours = ["load", "server", "postgres"].compactMap { cpu[$0] }.reduce(0, +)
            return max(0, (cpu["all"] ?? 0) - ours) / seconds
        }

        var deliveriesPerSecond: Double { Double(window.deliveries) / seconds }

        /// Why this cannot be right; nil when it may be.
        ///
        /// - Parameter isOverloaded: whether the server may have passed over slow readers.
        func violation(isOverloaded: Bool = false) -> String? {
            var wrong: [String] = []
            func forbid(_ count: Int, _ what: String) {
                if count != 0 { wrong.append("\(count) \(what)") }
            }
            forbid(whole.owed - whole.deliveries, "deliveries missing")
            // What was only queued comes as a message when it is stored.
            forbid(whole.sent - whole.stored - whole.queued, "messages without an answer")
            forbid(whole.foreign, "messages that nobody sent there")
            forbid(whole.renumbered, "messages with two numbers")
            forbid(whole.unknown, "frames that are not known")
            forbid(whole.late, "messages out of order")
            forbid(whole.failed, "connections refused")
            if !isOverloaded {
                forbid(whole.duplicates, "messages twice")
                forbid(whole.skipped, "messages passed over")
                forbid(whole.errors, "errors")
                forbid(whole.closed, "connections closed")
            }
            guard !wrong.isEmpty else { return nil }
            return wrong.joined(separator: ", ") + (complaint.isEmpty ? "" : ": \(complaint)")
        }
    }

    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var received: [UInt8] = []

    init(port: Int, count: Int, core: Int?) throws {
        let program = ChatStage.programs.appending(path: "ChatLoad").path()
        process.executableURL = URL(filePath: core == nil ? program : "/usr/bin/taskset")
        process.arguments =
            (core.map { ["-c", "\($0)", program] } ?? []) + ["\(port)", "\(count)"]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    /// Gives a command whose answer says nothing.
    func say(_ command: String) throws { _ = try answer(command) }

    /// Gives a command, and returns what came of it.
    func run(_ command: String) throws -> Outcome {
        try JSONDecoder().decode(Outcome.self, from: answer(command))
    }

    /// Lets clients join, evenly spread over new rooms.
    func join(_ count: Int, rooms: Int) throws -> Outcome {
        let outcome = try run("join \(count) \(rooms) 100 room-")
        guard outcome.whole.joins == count else {
            throw BenchError(
                description: "\(outcome.whole.joins) of \(count) clients came in: "
                    + outcome.complaint)
        }
        return outcome
    }

    func end() throws {
        try input.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    private func answer(_ command: String) throws -> Data {
        try input.fileHandleForWriting.write(contentsOf: Data("\(command)\n".utf8))
        while true {
            if let end = received.firstIndex(of: 0x0A) {
                defer { received.removeFirst(end + 1) }
                return Data(received[..<end])
            }
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else {
                throw BenchError(description: "the clients ended at '\(command)'")
            }
            received += data
        }
    }
}
