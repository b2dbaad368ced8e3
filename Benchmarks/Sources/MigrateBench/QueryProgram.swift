import BenchKit
import Foundation
import Postgres
import Synchronization

/// What the process with the queries is told at its start.
struct QuerySettings: Codable, Sendable {
    var places: [String]
    var connectionsPerPlace: Int
    /// Of all connections together.
    var perSecond: Double
    /// Rooms are called `room-1` and so on; each has the messages from 1 to ``messages``.
    var rooms: Int
    var messages: Int
    /// Where the answers go.
    var output: String

    static func read(_ path: String) throws -> QuerySettings {
        try JSONDecoder().decode(QuerySettings.self, from: Data(contentsOf: URL(filePath: path)))
    }
}

/// Point queries at fixed times, in a process of their own, until its input ends.
///
/// Each connection has its own beat. A query that is late because the one before it has waited
/// counts from when it was due, and is asked as soon as it can be: none is left out.
struct QueryProgram: Sendable {
    let settings: QuerySettings

    private final class Ledger: Sendable {
        private let contents = Mutex(QueryLedger())
        /// What was due later is not asked any more.
        private let last = Mutex(Int64.max)

        var value: QueryLedger { contents.withLock(\.self) }
        var end: Int64 { last.withLock(\.self) }

        func stop() { last.withLock { $0 = monotonic() } }

        func add(due: Int64, error: String?) {
            contents.withLock { contents in
                contents.due.append(due)
                contents.at.append(monotonic())
                contents.hasFailed.append(error != nil)
                if let error, contents.errors.count < 20 { contents.errors.append(error) }
            }
        }
    }

    /// Longer than any reader stays: whoever waits for a lock is late and not failed.
    private static let patience = Duration.seconds(300)

    func run() async throws {
        var connections: [PostgresConnection] = []
        for place in settings.places {
            for _ in 0..<settings.connectionsPerPlace {
                connections.append(
                    try await .connect(
                        ConnectionSettings(place), deadline: .now + .seconds(20)))
            }
        }
        let ledger = Ledger()
        Thread.detachNewThread {
            while readLine() != nil {}
            ledger.stop()
        }
        say("ready")
        let start = monotonic()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, connection) in connections.enumerated() {
                let share = Double(number) / Double(connections.count)
                let interval = Double(connections.count) / settings.perSecond * 1e9
                group.addTask {
                    try await ask(
                        connection, since: Double(start) + interval * share, every: interval,
                        ledger)
                }
            }
            try await group.waitForAll()
        }
        try JSONEncoder().encode(ledger.value).write(to: URL(filePath: settings.output))
        say("done")
    }

    private func ask(
        _ connection: PostgresConnection, since start: Double, every interval: Double,
        _ ledger: Ledger
    ) async throws {
        for number in 0... {
            let due = Int64(start + Double(number) * interval)
            let wait = due - monotonic()
            if wait > 0 { try await Task.sleep(for: .nanoseconds(wait)) }
            if due > ledger.end { return }
            do {
                let rows = try await connection.query(
                    "select body from public.messages where room_id = $1 and seq = $2",
                    [
                        "room-\(Int.random(in: 1...settings.rooms))",
                        Int.random(in: 1...settings.messages),
                    ], deadline: .now + Self.patience)
                ledger.add(due: due, error: rows.count == 1 ? nil : "\(rows.count) rows")
            } catch {
                ledger.add(due: due, error: "\(error)")
            }
        }
    }

    /// Not by `print`: flushing all streams would wait for the thread that reads the input.
    private func say(_ word: String) {
        // When the other process has gone there is nobody to tell.
        try? FileHandle.standardOutput.write(contentsOf: Data("\(word)\n".utf8))
    }
}
