import ShardRouter
import TestKit
import Testing

@testable import chatd

@Suite struct DrainPlanTests {
    private let start = ContinuousClock.now
    private let one = ShardID(1)
    private let rooms = (0..<6).map { RoomID("r\($0)") }

    private func plan(_ count: Int, atOnce: Int = 4) -> DrainPlan {
        var limits = SpoolLimits()
        limits.drainRooms = atOnce
        limits.firstPause = .seconds(1)
        limits.longestPause = .seconds(4)
        var plan = DrainPlan(limits: limits)
        for room in rooms.prefix(count) { plan.add(room, shard: one) }
        return plan
    }

    @Test func `rooms are tried in their order, so many at once`() {
        var plan = plan(6)

        #expect(plan.next(now: start) == Array(rooms[0..<4]))
        #expect(plan.next(now: start).isEmpty)
        plan.finished(rooms[1], .empty, shard: one, jitter: 1, now: start)
        #expect(plan.next(now: start) == [rooms[4]])
    }

    @Test func `a room that has more comes again, after the others`() {
        var plan = plan(2, atOnce: 1)
        #expect(plan.next(now: start) == [rooms[0]])

        plan.finished(rooms[0], .more, shard: one, jitter: 1, now: start)

        #expect(plan.next(now: start) == [rooms[1]])
    }

    @Test func `what arrives while a room is tried is not forgotten`() {
        var plan = plan(1)
        _ = plan.next(now: start)
        plan.add(rooms[0], shard: one)

        plan.finished(rooms[0], .empty, shard: one, jitter: 1, now: start)

        #expect(plan.next(now: start) == [rooms[0]])
        plan.finished(rooms[0], .empty, shard: one, jitter: 1, now: start)
        #expect(plan.isEmpty)
    }

    @Test func `a shard that refuses is left alone, then one room tries, then all`() {
        var plan = plan(3)
        for room in plan.next(now: start) {
            plan.finished(room, .refused(retryAfter: .zero), shard: one, jitter: 1, now: start)
        }

        #expect(plan.next(now: start).isEmpty)
        #expect(plan.nextTry == start + .seconds(1), "refused together, they make one pause")
        let trial = plan.next(now: start + .seconds(1))
        #expect(trial.count == 1)
        #expect(plan.next(now: start + .seconds(1)).isEmpty)
        #expect(plan.nextTry == nil, "the outcome of the trial decides")
        plan.finished(trial[0], .empty, shard: one, jitter: 1, now: start + .seconds(1))
        #expect(plan.next(now: start + .seconds(1)).count == 2)
    }

    @Test func `each trial that is refused makes a longer pause, and another room tries next`() {
        var plan = plan(3)
        var now = start
        for room in plan.next(now: now) {
            plan.finished(room, .refused(retryAfter: .zero), shard: one, jitter: 1, now: now)
        }
        var tried: [RoomID] = []
        for pause in [1, 2, 4, 4] {
            now += .seconds(pause)
            #expect(plan.next(now: now - .milliseconds(1)).isEmpty)
            let rooms = plan.next(now: now)
            tried += rooms
            plan.finished(
                rooms[0], .refused(retryAfter: .zero), shard: one, jitter: 1, now: now)
        }

        #expect(tried == Array(rooms[0..<3]) + [rooms[0]])
    }

    @Test func `the shard's own word for when to come back is heeded, up to the longest pause`() {
        var plan = plan(1)
        for (hint, pause) in [
            (Duration.seconds(3), Duration.seconds(3)), (.seconds(60), .seconds(4)),
        ] {
            _ = plan.next(now: start + .seconds(100))
            plan.finished(
                rooms[0], .refused(retryAfter: hint), shard: one, jitter: 0.5, now: start)
            #expect(plan.nextTry == start + pause)
        }
    }

    @Test func `other shards go on, and a room that has moved goes where it is`() {
        let two = ShardID(2)
        var plan = plan(1)
        plan.add(rooms[1], shard: two)
        _ = plan.next(now: start)

        plan.finished(
            rooms[0], .refused(retryAfter: .zero), shard: two, jitter: 1, now: start)
        plan.finished(rooms[1], .more, shard: two, jitter: 1, now: start)

        #expect(Set(plan.next(now: start)) == [rooms[0], rooms[1]])
    }
}
