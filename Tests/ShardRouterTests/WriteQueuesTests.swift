import FoundationEssentials
import Postgres
import TestKit
import Testing

@testable import ShardRouter

@Suite struct WriteQueuesTests {
    private let start = ContinuousClock.now
    private let one = ShardID(1)
    private let two = ShardID(2)

    private func entry(
        _ room: String, _ text: String = "x", patience: Duration = .seconds(1_000)
    ) -> PendingWrite {
        let now = Timestamp(microsecondsSince1970: 0)
        return PendingWrite(
            Message(
                id: UUID(), room: RoomID(room), author: "a", sentAt: now, receivedAt: now,
                text: text),
            slot: Slot(0), start: start, deadline: start + patience, caller: nil)
    }

    private func texts(_ batch: WriteBatch) -> [String] { texts(batch.entries) }
    private func texts(_ entries: [PendingWrite]) -> [String] { entries.map(\.message.text) }

    /// The first room of `batch` is settled, or comes back.
    private func finish(
        _ queues: inout WriteQueues, _ batch: WriteBatch, run: Int = 0, isSettled: Bool = true,
        next: WriteQueues.Continuation = .here
    ) -> ShardID? {
        let entries = Array(batch.entries[batch.runs[run].range])
        return queues.finish(
            batch.runs[run].place, unsettled: isSettled ? [] : entries,
            rows: isSettled ? entries.count : 0,
            bytes: isSettled ? entries.reduce(0) { $0 + $1.bytes } : 0, next: next)
    }

    @Test func `a batch takes what has collected, each room in its order`() {
        var queues = WriteQueues(limits: RouterLimits())
        for (room, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
            #expect(queues.offer(entry(room, text), owner: one) == one)
        }

        #expect(texts(queues.takeBatch(for: one)) == ["1", "3", "2"])
        #expect(queues.takeBatch(for: one).isEmpty)
        #expect(queues.takeBatch(for: two).isEmpty)
    }

    @Test func `a room is in one batch at a time`() {
        var queues = WriteQueues(limits: RouterLimits())
        _ = queues.offer(entry("a", "1"), owner: one)
        let first = queues.takeBatch(for: one)
        _ = queues.offer(entry("a", "2"), owner: one)

        #expect(queues.takeBatch(for: one).isEmpty)

        #expect(finish(&queues, first) == one)
        #expect(texts(queues.takeBatch(for: one)) == ["2"])
    }

    @Test func `what comes back goes before what came later, to the new owner`() {
        var queues = WriteQueues(limits: RouterLimits())
        _ = queues.offer(entry("a", "1"), owner: one)
        let batch = queues.takeBatch(for: one)
        _ = queues.offer(entry("a", "2"), owner: two)

        let woken = finish(&queues, batch, isSettled: false, next: .at(two))

        #expect(woken == two)
        #expect(queues.queuedRows(one) == 0)
        #expect(queues.queuedRows(two) == 2)
        #expect(texts(queues.takeBatch(for: two)) == ["1", "2"])
    }

    @Test func `a blocked room waits for its time and holds nobody up`() {
        var queues = WriteQueues(limits: RouterLimits())
        _ = queues.offer(entry("a", "1"), owner: one)
        let batch = queues.takeBatch(for: one)
        let later = start + .seconds(5)
        _ = finish(&queues, batch, isSettled: false, next: .later(later))
        _ = queues.offer(entry("a", "2"), owner: one)
        _ = queues.offer(entry("b", "3"), owner: one)

        #expect(texts(queues.takeBatch(for: one)) == ["3"])
        #expect(queues.unblock(start + .seconds(4)) { _ in two }.isEmpty)
        #expect(queues.unblock(later) { _ in two } == [two])
        #expect(texts(queues.takeBatch(for: two)) == ["1", "2"])
    }

    @Test func `a full queue takes nothing more, another shard's does`() {
        var limits = RouterLimits()
        limits.queuedRows = 2
        var queues = WriteQueues(limits: limits)
        #expect(queues.offer(entry("a"), owner: one) == one)
        #expect(queues.offer(entry("b"), owner: one) == one)

        #expect(queues.offer(entry("c"), owner: one) == nil)
        #expect(queues.offer(entry("c"), owner: two) == two)
        let batch = queues.takeBatch(for: one)
        #expect(queues.offer(entry("d"), owner: one) == nil, "a batch on its way counts")
        for run in batch.runs.indices { _ = finish(&queues, batch, run: run) }
        #expect(queues.offer(entry("d"), owner: one) == one)
    }

    @Test func `a queue is bounded by bytes too`() {
        var limits = RouterLimits()
        limits.queuedBytes = 1_000
        var queues = WriteQueues(limits: limits)

        #expect(queues.offer(entry("a", String(repeating: "x", count: 800)), owner: one) == one)
        #expect(queues.offer(entry("a", String(repeating: "x", count: 800)), owner: one) == nil)
    }

    @Test func `a batch is bounded by rows and bytes`() {
        var limits = RouterLimits()
        limits.batchRows = 3
        limits.batchBytes = 250
        var queues = WriteQueues(limits: limits)
        for number in 0..<7 { _ = queues.offer(entry("r\(number)"), owner: one) }
        _ = queues.offer(entry("big", String(repeating: "x", count: 900)), owner: one)

        var sizes: [Int] = []
        while true {
            let batch = queues.takeBatch(for: one)
            if batch.isEmpty { break }
            sizes.append(batch.entries.count)
        }

        #expect(sizes == [3, 3, 1, 1], "a message above the bound goes alone")
    }

    @Test func `patience ends for those who wait, not for those on their way`() {
        var queues = WriteQueues(limits: RouterLimits())
        _ = queues.offer(entry("a", "sent", patience: .seconds(1)), owner: one)
        let sent = queues.takeBatch(for: one)
        _ = queues.offer(entry("a", "late", patience: .seconds(1)), owner: one)
        _ = queues.offer(entry("a", "patient"), owner: one)
        _ = queues.offer(entry("b", "late too", patience: .seconds(1)), owner: one)

        let expired = queues.expired(start + .seconds(2)).late

        #expect(Set(texts(expired.map(\.0))) == ["late", "late too"])
        #expect(expired.allSatisfy { $0.1 == one })
        #expect(queues.takeBatch(for: one).isEmpty)
        _ = finish(&queues, sent)
        #expect(texts(queues.takeBatch(for: one)) == ["patient"])
    }

    @Test func `a late message stays where it is asked to, and is named`() {
        var queues = WriteQueues(limits: RouterLimits())
        _ = queues.offer(entry("a", "late", patience: .seconds(1)), owner: one)
        _ = queues.offer(entry("b", "late too", patience: .seconds(1)), owner: one)

        let (late, kept) = queues.expired(start + .seconds(2)) { $0.message.room == RoomID("a") }

        #expect(texts(late.map(\.0)) == ["late too"])
        #expect(texts(kept) == ["late"])
        #expect(texts(queues.takeAll(of: [RoomID("a")]).map(\.0)) == ["late"])
        #expect(queues.isEmpty)
        #expect(queues.queuedRows(one) == 0)
    }

    @Test func `everything that waits for a shard can be taken out, in the order of its rooms`() {
        var queues = WriteQueues(limits: RouterLimits())
        _ = queues.offer(entry("a", "1"), owner: one)
        let sent = queues.takeBatch(for: one)
        for (room, text) in [("a", "2"), ("b", "3"), ("a", "4")] {
            _ = queues.offer(entry(room, text), owner: one)
        }
        _ = queues.offer(entry("c", "5"), owner: two)

        let taken = queues.takeAll(for: one)

        #expect(texts(taken) == ["2", "4", "3"])
        #expect(queues.queuedRows(one) == 1, "a batch on its way counts")
        _ = finish(&queues, sent)
        #expect(queues.queuedRows(one) == 0)
        #expect(queues.takeBatch(for: one).isEmpty)
        #expect(texts(queues.takeBatch(for: two)) == ["5"])
    }

    @Test(arguments: [1, 2, 3, 4, 5, 71_193] as [UInt64])
    func `whatever happens, every message is settled once and in its room's order`(
        seed: UInt64
    ) {
        var generator = SeededGenerator(seed: seed)
        var limits = RouterLimits()
        limits.batchRows = 5
        var queues = WriteQueues(limits: limits)
        var offered: [RoomID: [String]] = [:]
        var settled: [RoomID: [String]] = [:]
        var inFlight: [WriteBatch] = []
        var now = start

        for step in 0..<4_000 {
            now += .milliseconds(10)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0,
                1 where step < 3_000:
                let entry = entry("r\(Int.random(in: 0..<8, using: &generator))", "\(step)")
                if queues.offer(entry, owner: shard(&generator)) != nil {
                    offered[entry.message.room, default: []].append("\(step)")
                }
            case 2:
                let batch = queues.takeBatch(for: shard(&generator))
                if !batch.isEmpty { inFlight.append(batch) }
            default:
                guard !inFlight.isEmpty else { continue }
                let place = Int.random(in: inFlight.indices, using: &generator)
                finish(inFlight.remove(at: place), &queues, &settled, now, &generator)
            }
            _ = queues.unblock(now) { _ in shard(&generator) }
        }
        while !queues.isEmpty {
            now += .seconds(1)
            _ = queues.unblock(now) { _ in shard(&generator) }
            for number in 1...3 {
                let batch = queues.takeBatch(for: ShardID(number))
                if !batch.isEmpty { inFlight.append(batch) }
            }
            while let batch = inFlight.popLast() {
                finish(batch, &queues, &settled, now, &generator)
            }
        }

        #expect(settled == offered, "seed \(seed)")
        #expect((1...3).allSatisfy { queues.queuedRows(ShardID($0)) == 0 }, "seed \(seed)")
        #expect(offered.values.reduce(0) { $0 + $1.count } > 1_000)
    }

    private func shard(_ generator: inout SeededGenerator) -> ShardID {
        ShardID(Int.random(in: 1...3, using: &generator))
    }

    /// Each room of a batch is either settled or comes back in one of three ways.
    private func finish(
        _ batch: WriteBatch, _ queues: inout WriteQueues,
        _ settled: inout [RoomID: [String]], _ now: ContinuousClock.Instant,
        _ generator: inout SeededGenerator
    ) {
        for run in batch.runs.indices {
            switch Int.random(in: 0..<6, using: &generator) {
            case 0:
                _ = finish(
                    &queues, batch, run: run, isSettled: false, next: .at(shard(&generator)))
            case 1:
                _ = finish(
                    &queues, batch, run: run, isSettled: false,
                    next: .later(now + .milliseconds(50)))
            default:
                let entries = Array(batch.entries[batch.runs[run].range])
                settled[entries[0].message.room, default: []] += texts(entries)
                _ = finish(&queues, batch, run: run)
            }
        }
    }
}
