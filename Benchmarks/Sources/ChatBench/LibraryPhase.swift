import BenchKit
import ChatClient
import Foundation
import Synchronization

/// The Swift client library as the load: two hundred people write in twenty rooms, each whenever its
/// turn comes. How long a message takes until the library calls it stored, and whether all of a room
/// end with the same list.
///
/// Ten thousand such clients would need more than one core; the other phases have clients that do
/// less.
struct LibraryPhase {
    let stage: ChatStage

    private static let rooms = 20
    private static let peopleOfRoom = 10
    /// Messages a second of each person.
    private static let rate = 5.0

    /// What somebody was told.
    private struct Told: Sendable {
        var milliseconds: [Double] = []
        /// By room.
        var stored: [Int: [Int64]] = [:]
    }

    func run(_ report: inout Report) async throws {
        let subject = try await stage.chatServer(isPinned: false)
        var (p50, p99, rates) = ([Double](), [Double](), [Double]())
        for round in 1...stage.extent.rounds {
            let (told, seconds) = try await converse(with: subject, round)
            let times = told.milliseconds.sorted()
            rates.append(Double(times.count) / seconds)
            p50.append(percentile(0.5, of: times))
            p99.append(percentile(0.99, of: times))
        }
        try await subject.daemon.stop()
        let people = Self.rooms * Self.peopleOfRoom
        report.add(
            Figure(
                name: "ChatClient: messages stored", ours: median(rates), unit: "/s",
                note: "\(people) people in \(Self.rooms) rooms, on the cores of the server"))
        report.add(Figure(name: "ChatClient: stored p50", ours: median(p50), unit: "ms"))
        report.add(
            Figure(
                name: "ChatClient: stored p99", ours: median(p99), unit: "ms",
                note: "everybody ended with the same list of each room"))
    }

    private func converse(
        with subject: ChatSubject, _ round: Int
    ) async throws -> (Told, seconds: Double) {
        let clients = try (0..<Self.rooms).map { room in
            try (0..<Self.peopleOfRoom).map { person in
                try ChatClient(
                    ChatClient.Configuration(
                        servers: ["http://127.0.0.1:\(subject.port)"],
                        room: "library-\(round)-\(room)", user: "person-\(room)-\(person)"))
            }
        }
        let told = Box(Told())
        let seconds = stage.extent.seconds
        try await withThrowingTaskGroup(of: Void.self) { running in
            for client in clients.joined() { running.addTask { await client.run() } }
            try await allAreLive(Array(clients.joined()))
            try await withThrowingTaskGroup(of: Told.self) { writing in
                for (room, people) in clients.enumerated() {
                    for (person, client) in people.enumerated() {
                        writing.addTask {
                            try await write(by: client, person, in: room, for: seconds)
                        }
                    }
                }
                for try await one in writing {
                    told.value.milliseconds += one.milliseconds
                    told.value.stored.merge(one.stored, uniquingKeysWith: +)
                }
            }
            for (room, people) in clients.enumerated() {
                try await compare(people, room, told.value.stored[room] ?? [])
            }
            running.cancelAll()
        }
        return (told.value, seconds)
    }

    /// Returns when all are connected: what is measured is not how they come in.
    private func allAreLive(_ clients: [ChatClient]) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        while clients.contains(where: { $0.view().connection != .live }) {
            guard ContinuousClock.now < deadline else {
                throw BenchError(description: "not all of \(clients.count) clients came in")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Writes at a steady rate, whether or not answers come; each person begins at another moment.
    private func write(
        by client: ChatClient, _ person: Int, in room: Int, for seconds: Double
    ) async throws -> Told {
        let text = String(repeating: "x", count: stage.textBytes)
        let start = ContinuousClock.now + .seconds(Double(person) / Self.rate / 10)
        return try await withThrowingTaskGroup(of: (Double, Int64).self) { messages in
            for number in 0..<Int(seconds * Self.rate) {
                let due = start + .seconds(Double(number) / Self.rate)
                messages.addTask {
                    try await Task.sleep(until: due)
                    let seq = try await client.deliver(text)
                    return ((ContinuousClock.now - due).seconds * 1_000, seq)
                }
            }
            var told = Told()
            for try await (milliseconds, seq) in messages {
                told.milliseconds.append(milliseconds)
                told.stored[room, default: []].append(seq)
            }
            return told
        }
    }

    /// Everybody in a room must come to have what was stored, once and in its order.
    private func compare(_ people: [ChatClient], _ room: Int, _ stored: [Int64]) async throws {
        let expected = stored.sorted().map(Int64?.some)
        let deadline = ContinuousClock.now + .seconds(20)
        for (person, client) in people.enumerated() {
            while client.view().messages.map(\.seq) != expected, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(20))
            }
            let view = client.view()
            stage.check(
                view.messages.map(\.seq) == expected && view.pending.isEmpty,
                "library: person \(person) of room \(room) has \(view.messages.count) messages, "
                    + "\(expected.count) are stored, \(view.pending.count) wait")
        }
    }
}
