import CoreMetrics
import Foundation
import Logging
import ShardRouter
import Synchronization
import TestKit
import Testing

@testable import chatd

@Suite struct SpoolDrainerTests {
    private let folder = TemporaryFolder()

    /// A shard that refuses, loses answers and is stored into, as a test wants.
    private final class FlakyShard: Sendable {
        private struct Contents {
            var rooms: [RoomID: [UUID]] = [:]
            var generator: SeededGenerator
            var failures = 0.0
        }

        private let contents: Mutex<Contents>
        /// One element for each call.
        let calls: AsyncStream<Void>
        private let call: AsyncStream<Void>.Continuation

        init(seed: UInt64, failures: Double) {
            (calls, call) = AsyncStream.makeStream()
            contents = Mutex(
                Contents(generator: SeededGenerator(seed: seed), failures: failures))
        }

        func heal() { contents.withLock { $0.failures = 0 } }
        func ids(of room: RoomID) -> [UUID] { contents.withLock { $0.rooms[room] ?? [] } }

        /// As the router: a failure is for the rest of the batch, too, so that nothing overtakes.
        func store(_ messages: [Message]) -> [Result<Receipt, WriteError>] {
            defer { call.yield() }
            var failure: WriteError?
            return messages.map { message in
                if let failure { return .failure(failure) }
                let outcome = store(message)
                if case .failure(let error) = outcome { failure = error }
                return outcome
            }
        }

        private func store(_ message: Message) -> Result<Receipt, WriteError> {
            let shard = ShardID(1)
            return contents.withLock { contents in
                let chance = Double.random(in: 0..<1, using: &contents.generator)
                if chance < contents.failures / 2 {
                    return .failure(
                        .unavailable(shard: shard, reason: "away", retryAfter: .milliseconds(1)))
                }
                let known = contents.rooms[message.room] ?? []
                if !known.contains(message.id) {
                    contents.rooms[message.room, default: []].append(message.id)
                }
                if chance < contents.failures {
                    return .failure(.unknownOutcome(shard: shard, reason: "lost"))
                }
                return .success(
                    Receipt(
                        seq: Int64(known.count + 1), isDuplicate: known.contains(message.id),
                        sentAt: message.sentAt, receivedAt: message.receivedAt, shard: shard))
            }
        }
    }

    private var limits: SpoolLimits {
        var limits = SpoolLimits()
        limits.firstPause = .milliseconds(1)
        limits.longestPause = .milliseconds(4)
        limits.drainRows = 4
        return limits
    }

    private func drainer(
        _ spool: Spool, _ shard: FlakyShard,
        onStored: @escaping @Sendable (Message, Receipt) -> Void = { _, _ in }
    ) -> SpoolDrainer {
        SpoolDrainer(
            spool: spool, limits: limits,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, endsWhenEmpty: true,
            store: { messages, _ in shard.store(messages) },
            owner: { _ in ShardID(1) }, onStored: onStored)
    }

    @Test(arguments: [1, 2, 3, 71_193] as [UInt64])
    func `everything is stored once and in order, whatever fails and however often it restarts`(
        seed: UInt64
    ) async throws {
        let shard = FlakyShard(seed: seed, failures: 0.5)
        let rooms = (0..<5).map { RoomID("room-\($0)") }
        var expected: [RoomID: [UUID]] = [:]
        var spool: Spool? = try await Spool.open(folder, limits: limits)
        let first = try #require(spool)
        try await first.whileRunning {
            for number in 0..<100 {
                let message = Message.numbered(
                    number, room: rooms[number % 5], author: "ada", text: "\(number)")
                _ = await first.add(message)
                expected[message.room, default: []].append(message.id)
            }
        }
        spool = nil

        var calls = shard.calls.makeAsyncIterator()
        for round in 0..<4 {
            // A new process: it knows what is in the file. It ends after some calls.
            let next = try await reopened(round)
            if round == 3 { shard.heal() }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await drainer(next, shard).run() }
                if round < 3 {
                    for _ in 0..<5 { await calls.next() }
                    group.cancelAll()
                }
                try await group.waitForAll()
            }
            try copyBack(round)
            if round == 3 { #expect(next.load.rows == 0, "seed \(seed)") }
        }

        for room in rooms { #expect(shard.ids(of: room) == expected[room], "seed \(seed)") }
    }

    @Test func `what a shard refuses for good is kept for a human, and the rest goes on`()
        async throws
    {
        let spool = try await Spool.open(folder)
        let told = Mutex<[String]>([])
        try await spool.whileRunning {
            for number in 1...3 {
                _ = await spool.add(
                    .numbered(number, room: .lobby, author: "ada", text: "\(number)"))
            }
            let drainer = SpoolDrainer(
                spool: spool, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                endsWhenEmpty: true,
                store: { messages, _ in
                    messages.map { message in
                        message.text == "2"
                            ? .failure(
                                .refused(
                                    id: message.id, reason: "too long", sqlState: "23514"))
                            : .success(
                                Receipt(
                                    seq: 1, isDuplicate: false, sentAt: message.sentAt,
                                    receivedAt: message.receivedAt, shard: ShardID(1)))
                    }
                }, owner: { _ in ShardID(1) }
            ) { message, _ in told.withLock { $0.append(message.text) } }
            try await drainer.run()
        }

        let report = try SpoolReport(folder: folder.path)
        #expect(told.withLock { $0.sorted() } == ["1", "3"])
        #expect(report.rows == 0)
        #expect(report.refused.map(\.reason) == ["too long"])
        #expect(!report.text.contains("text"))
    }

    private var copies: String { folder.path + "-copy" }

    /// The spool of a process that starts after another one was killed.
    private func reopened(_ round: Int) async throws -> Spool {
        let next = "\(copies)-\(round)"
        let last = round == 0 ? folder.path : "\(copies)-\(round - 1)-end"
        try FileManager.default.copyItem(atPath: last, toPath: next)
        return try await Spool.open(
            next, limits: limits, factory: NOOPMetricsHandler.instance,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private func copyBack(_ round: Int) throws {
        try FileManager.default.copyItem(
            atPath: "\(copies)-\(round)", toPath: "\(copies)-\(round)-end")
        try FileManager.default.removeItem(atPath: "\(copies)-\(round)")
        if round > 0 { try FileManager.default.removeItem(atPath: "\(copies)-\(round - 1)-end") }
        if round == 3 { try FileManager.default.removeItem(atPath: "\(copies)-\(round)-end") }
    }
}
