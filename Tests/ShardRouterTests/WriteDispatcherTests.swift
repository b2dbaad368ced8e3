import FoundationEssentials
import Postgres
import Synchronization
import TestKit
import Testing

@testable import ShardRouter

@Suite struct WriteDispatcherTests {
    private let start = ContinuousClock.now
    private let one = ShardID(1)
    private let overflow = MemoryOverflow()
    private let outcomes = Outcomes()
    private var lanes: [WriteDispatcher.Lane] {
        [0, 1].map { WriteDispatcher.Lane(shard: one, number: $0) }
    }

    /// What callers were told, by the texts of their messages.
    private final class Outcomes: Sendable {
        private let told = Mutex<[String: PendingWrite.Outcome]>([:])

        subscript(_ text: String) -> PendingWrite.Outcome? { told.withLock { $0[text] } }

        func tell(_ text: String, _ outcome: PendingWrite.Outcome) {
            told.withLock { $0[text] = outcome }
        }
    }

    /// Offers messages in order; the callers wait as children of `group`.
    private func offer(
        _ dispatcher: WriteDispatcher, _ messages: [(room: String, text: String)],
        mayOverflow: Bool = true, patience: Duration = .seconds(1_000),
        _ group: inout DiscardingTaskGroup
    ) {
        for (room, text) in messages {
            group.addImmediateTask { [outcomes, start] in
                let now = Timestamp(microsecondsSince1970: 0)
                let message = Message(
                    id: UUID(), room: RoomID(room), author: "a", sentAt: now, receivedAt: now,
                    text: text)
                let outcome = await withUnsafeContinuation { continuation in
                    dispatcher.offer(
                        PendingWrite(
                            message, slot: Slot(0), start: .now, deadline: start + patience,
                            mayOverflow: mayOverflow, caller: .task(continuation)),
                        owner: ShardID(1))
                }
                outcomes.tell(text, outcome)
            }
        }
    }

    private func fail(_ dispatcher: WriteDispatcher, _ lane: Int = 0) -> Bool {
        dispatcher.failed(lanes[lane], start: .now - .seconds(60), reason: "a test")
    }

    /// Offers messages of one room together, as a drainer does.
    private func offer(
        _ dispatcher: WriteDispatcher, together texts: [String],
        patience: Duration = .seconds(1_000)
    ) async -> [PendingWrite.Outcome] {
        await withUnsafeContinuation { (caller: WriteSequence.Caller) in
            let sequence = WriteSequence(count: texts.count, caller: caller)
            let now = Timestamp(microsecondsSince1970: 0)
            let entries = texts.enumerated().map { place, text in
                PendingWrite(
                    Message(
                        id: UUID(), room: RoomID("a"), author: "a", sentAt: now, receivedAt: now,
                        text: text),
                    slot: Slot(0), start: start, deadline: start + patience,
                    caller: .sequence(sequence, place))
            }
            dispatcher.offer(entries, owner: one)
        }
    }

    @Test func `of messages given together none is taken after one that found no room`() async {
        var limits = RouterLimits()
        limits.queuedRows = 3
        let dispatcher = WriteDispatcher(limits: limits)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("b", "other")], mayOverflow: false, &group)
            group.addImmediateTask {
                let outcomes = await offer(dispatcher, together: ["1", "2", "3", "4"])
                for outcome in outcomes[2...] {
                    guard case .failure(.overloaded(one, _)) = outcome else {
                        Issue.record("\(outcome)")
                        continue
                    }
                }
            }
            let batch = await dispatcher.nextBatch(for: lanes[0])

            #expect(batch?.entries.map(\.message.text) == ["other", "1", "2"])
            dispatcher.abandon()
        }
    }

    @Test func `messages given together end together, whoever is told first`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits())

        await withDiscardingTaskGroup { group in
            group.addImmediateTask {
                _ = await offer(dispatcher, together: ["1", "2"], patience: .zero)
            }
            let entries = await dispatcher.nextBatch(for: lanes[0])?.entries ?? []
            // Between the two moments at which the callers are told.
            entries.first?.expire(shard: one, reason: "late", retryAfter: .zero)

            #expect(entries.map(\.isOver) == [true, false])
            #expect(entries.map(\.isPast) == [true, true])
            dispatcher.abandon()
        }
    }

    @Test func `a shard that is given up loses its messages to the overflow, in order`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "a1"), ("b", "b1")], &group)
            let batch = await dispatcher.nextBatch(for: lanes[0])
            offer(dispatcher, [("a", "a2"), ("b", "b2"), ("a", "a3")], &group)

            #expect(fail(dispatcher))

            offer(dispatcher, [("a", "a4"), ("c", "c1")], &group)
            let texts = overflow.texts
            #expect(texts.filter { $0.hasPrefix("a") } == ["a1", "a2", "a3", "a4"])
            #expect(texts.filter { $0.hasPrefix("b") } == ["b1", "b2"])
            #expect(texts.last == "c1")
            #expect(batch?.entries.allSatisfy { $0.isOver } == true, "no lane sends them again")
            overflow.answer(.success(()))
            finish(dispatcher, batch)
        }

        #expect(outcomes["a1"] == .success(.queued))
        #expect(outcomes["c1"] == .success(.queued))
        #expect(dispatcher.load(of: one) == (0, 0))
    }

    @Test func `without an overflow the callers are told when to come back`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits())

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "waiting")], mayOverflow: false, &group)
            _ = fail(dispatcher)
            offer(dispatcher, [("a", "later")], mayOverflow: false, &group)
        }

        for text in ["waiting", "later"] {
            guard case .failure(.unavailable(one, _, let retryAfter))? = outcomes[text] else {
                Issue.record("\(text): \(String(describing: outcomes[text]))")
                continue
            }
            #expect(retryAfter > .zero)
        }
    }

    @Test func `what bypasses the overflow tries again, one message at a time`() async {
        var limits = RouterLimits()
        limits.circuit.firstPause = .zero
        let dispatcher = WriteDispatcher(limits: limits, overflow: overflow)
        _ = fail(dispatcher)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "trial"), ("b", "too soon")], mayOverflow: false, &group)
            let batch = await dispatcher.nextBatch(for: lanes[0])

            #expect(batch?.entries.map(\.message.text) == ["trial"])
            dispatcher.succeeded(lanes[0], rows: 1, start: start)
            #expect(!dispatcher.isOpen(one))
            batch?.entries.first?.resolve(.failure(.stopped))
            finish(dispatcher, batch)
        }

        guard case .failure(.unavailable)? = outcomes["too soon"] else {
            Issue.record("\(String(describing: outcomes["too soon"]))")
            return
        }
        #expect(overflow.texts.isEmpty)
    }

    @Test func `while messages of a room are in the overflow, later ones go there too`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "a1")], patience: .zero, &group)
            dispatcher.sweep(now: start + .seconds(1)) { _ in one }
            offer(dispatcher, [("a", "a2"), ("b", "b1")], &group)
            #expect(overflow.texts == ["a1", "a2"])
            let batch = await dispatcher.nextBatch(for: lanes[0])
            #expect(batch?.entries.map(\.message.text) == ["b1"])
            overflow.answer(.success(()))

            batch?.entries.first?.resolve(.failure(.stopped))
            finish(dispatcher, batch)
            overflow.drain()
            offer(dispatcher, [("a", "a3")], &group)

            let next = await dispatcher.nextBatch(for: lanes[1])
            #expect(next?.entries.map(\.message.text) == ["a3"])
            dispatcher.abandon()
        }
    }

    @Test func `patience that ends for one message takes its whole room to the overflow`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "sent")], patience: .seconds(5), &group)
            let batch = await dispatcher.nextBatch(for: lanes[0])
            offer(dispatcher, [("a", "patient"), ("b", "other")], &group)

            dispatcher.sweep(now: start + .seconds(5)) { _ in one }

            #expect(overflow.texts == ["sent", "patient"])
            overflow.answer(.success(()))
            finish(dispatcher, batch)
            #expect(dispatcher.load(of: one).rows == 1)
            dispatcher.abandon()
        }

        #expect(outcomes["patient"] == .success(.queued))
    }

    @Test func `an idle shard gets a message at once, a busy one collects`() async {
        var limits = RouterLimits()
        limits.laneRows = 3
        limits.laneDelay = .seconds(1_000)
        let dispatcher = WriteDispatcher(limits: limits)
        let (batches, news) = AsyncStream<[String]>.makeStream()

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "1")], mayOverflow: false, &group)
            let first = await dispatcher.nextBatch(for: lanes[0])
            group.addImmediateTask { [lanes] in
                while let batch = await dispatcher.nextBatch(for: lanes[1]) {
                    news.yield(batch.entries.map(\.message.text))
                    batch.entries.forEach { $0.resolve(.failure(.stopped)) }
                    finish(dispatcher, batch, lane: 1)
                }
                news.finish()
            }
            var next = batches.makeAsyncIterator()
            offer(dispatcher, [("b", "2"), ("c", "3")], mayOverflow: false, &group)
            dispatcher.sweep(now: .now) { _ in one }
            offer(dispatcher, [("d", "4")], mayOverflow: false, &group)
            #expect(await next.next() == ["2", "3", "4"], "three are worth a lane of their own")

            offer(dispatcher, [("e", "5")], mayOverflow: false, &group)
            first?.entries.forEach { $0.resolve(.failure(.stopped)) }
            finish(dispatcher, first)  // Its lane would look for more now; the other one does.
            dispatcher.sweep(now: .now) { _ in one }
            #expect(await next.next() == ["5"], "the shard is idle")
            dispatcher.stop()
        }
    }

    @Test func `a batch that takes long does not hold up what comes after it`() async {
        var limits = RouterLimits()
        limits.laneRows = 100
        limits.laneDelay = .zero
        let dispatcher = WriteDispatcher(limits: limits)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "1")], mayOverflow: false, &group)
            _ = await dispatcher.nextBatch(for: lanes[0])
            offer(dispatcher, [("b", "2")], mayOverflow: false, &group)

            let batch = await dispatcher.nextBatch(for: lanes[1])

            #expect(batch?.entries.map(\.message.text) == ["2"])
            dispatcher.abandon()
        }
    }

    @Test func `a shard that hangs is given up before its attempts end, and told once`() async {
        let changes = Mutex<[CircuitChange]>([])
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow) { change in
            changes.withLock { $0.append(change) }
        }
        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "hanging")], &group)
            let batch = await dispatcher.nextBatch(for: lanes[0])
            dispatcher.sent(lanes[0], at: start)
            offer(dispatcher, [("a", "waiting"), ("b", "other")], &group)

            dispatcher.sweep(now: start + .seconds(1.9)) { _ in one }
            #expect(overflow.texts.isEmpty)
            dispatcher.sweep(now: start + .seconds(2)) { _ in one }
            dispatcher.sweep(now: start + .seconds(2.1)) { _ in one }

            #expect(overflow.texts == ["hanging", "waiting", "other"])
            overflow.answer(.success(()))
            dispatcher.succeeded(lanes[0], rows: 1, start: start)
            finish(dispatcher, batch)
        }

        #expect(
            changes.withLock { $0 } == [
                .opened(one, reason: "the shard does not answer"), .closed(one),
            ])
    }

    @Test func `while nobody drains the overflow, a message of its own tries the shard`() async {
        var limits = RouterLimits()
        limits.circuit.firstPause = .zero
        limits.circuit.longestPause = .zero
        let dispatcher = WriteDispatcher(limits: limits, overflow: overflow)
        _ = fail(dispatcher)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "trial"), ("b", "diverted")], &group)

            #expect(overflow.texts == ["diverted"])
            let batch = await dispatcher.nextBatch(for: lanes[0])
            #expect(batch?.entries.map(\.message.text) == ["trial"])
            overflow.answer(.failure(.full))
            dispatcher.abandon()
        }
    }

    @Test func `what comes to a shard that was given up meanwhile goes to the overflow`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "a1")], &group)
            let batch = await dispatcher.nextBatch(for: lanes[0])
            let elsewhere = WriteDispatcher.Lane(shard: ShardID(2), number: 0)
            _ = dispatcher.failed(elsewhere, start: .now - .seconds(60), reason: "a test")
            if let batch {
                let verdict = WriteDispatcher.Verdict(
                    unsettled: batch.entries, settledRows: 0, settledBytes: 0,
                    next: .at(ShardID(2)))
                dispatcher.finish(lanes[0], batch, [verdict])
            }
            let second = await dispatcher.nextBatch(for: elsewhere)
            #expect(second?.entries.map(\.message.text) == ["a1"])

            _ = dispatcher.failed(elsewhere, start: .now, reason: "a test")

            #expect(overflow.texts == ["a1"])
            overflow.answer(.success(()))
        }
        #expect(outcomes["a1"] == .success(.queued))
    }

    @Test func `an overflow that does not answer does not hold its callers for ever`() async {
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow)
        _ = fail(dispatcher)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "a1")], &group)
            dispatcher.sweep(now: .now) { _ in one }
            #expect(outcomes["a1"] == nil)

            dispatcher.sweep(now: .now + RouterLimits().overflow) { _ in one }
        }

        guard case .failure(.unknownOutcome(one, _))? = outcomes["a1"] else {
            Issue.record("\(String(describing: outcomes["a1"]))")
            return
        }
    }

    @Test(arguments: [false, true])
    func `what a full overflow refuses was stored by nobody, or its outcome is unknown`(
        mayHaveRun: Bool
    ) async {
        let dispatcher = WriteDispatcher(limits: RouterLimits(), overflow: overflow)

        await withDiscardingTaskGroup { group in
            offer(dispatcher, [("a", "a1")], &group)
            let batch = await dispatcher.nextBatch(for: lanes[0])
            batch?.entries.first?.mayHaveRun.store(mayHaveRun, ordering: .releasing)
            _ = fail(dispatcher)
            overflow.answer(.failure(.full))
            finish(dispatcher, batch)
        }

        switch outcomes["a1"] {
        case .failure(.overloaded(one, let retryAfter))? where !mayHaveRun:
            #expect(retryAfter > .zero)
        case .failure(.unknownOutcome(one, _))? where mayHaveRun:
            break
        default:
            Issue.record("\(String(describing: outcomes["a1"]))")
        }
    }

    @Test func `a refused caller is told to come back when half of the queue will be gone`() async {
        var limits = RouterLimits()
        limits.queuedRows = 100
        let dispatcher = WriteDispatcher(limits: limits)
        dispatcher.succeeded(lanes[0], rows: 10, start: .now - .seconds(1))

        await withDiscardingTaskGroup { group in
            let messages = (0...100).map { (room: "r\($0)", text: "\($0)") }
            offer(dispatcher, messages, &group)
            dispatcher.abandon()
        }

        guard case .failure(.overloaded(one, let retryAfter))? = outcomes["100"] else {
            Issue.record("\(String(describing: outcomes["100"]))")
            return
        }
        #expect(retryAfter > .seconds(4) && retryAfter < .seconds(6), "100 rows, 10 a second")
    }

    private func finish(_ dispatcher: WriteDispatcher, _ batch: WriteBatch?, lane: Int = 0) {
        guard let batch else { return }
        let verdicts = batch.runs.map { run in
            let entries = batch.entries[run.range]
            return WriteDispatcher.Verdict(
                unsettled: [], settledRows: entries.count,
                settledBytes: entries.reduce(0) { $0 + $1.bytes }, next: .here)
        }
        dispatcher.finish(lanes[lane], batch, verdicts)
    }
}
