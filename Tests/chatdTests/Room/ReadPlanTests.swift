import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

@Suite struct ReadPlanTests {
    let start = ContinuousClock.Instant.now
    let limits = RoomLimits()
    var plan = ReadPlan(limits: RoomLimits())
    var window = Window(limits: WindowLimits())

    @Test mutating func `a cold room reads the newest messages, once`() {
        #expect(next() == .newest)
        #expect(next() == nil)
    }

    @Test mutating func `a room without sockets reads nothing`() {
        #expect(next(isNeeded: false) == nil)

        anchor(upTo: 3)
        plan.missedSomething()
        #expect(next(isNeeded: false) == nil)
        #expect(next() == .after(3, target: 3))
    }

    @Test mutating func `a warm room with nothing to ask reads nothing`() {
        anchor(upTo: 3)

        #expect(next(at: .seconds(600)) == nil)
    }

    @Test mutating func `a hole is read when it lasts`() {
        anchor(upTo: 3)
        insert(5)

        #expect(next(at: .zero) == nil)
        #expect(next(at: .milliseconds(99)) == nil)
        #expect(next(at: .milliseconds(100)) == .after(3, target: 5))
    }

    @Test mutating func `a hole that closes by itself is not read`() {
        anchor(upTo: 3)
        insert(5)
        #expect(next(at: .zero) == nil)

        insert(4)

        #expect(next(at: .milliseconds(100)) == nil)
    }

    @Test mutating func `a client's word of a higher seq is followed at once, but not too often`() {
        anchor(upTo: 3)

        plan.heard(of: .max, isUrgent: true, now: start)
        #expect(next(at: .zero) == .after(3, target: 3))
        plan.succeeded(isComplete: true, now: start)
        plan.heard(of: .max, isUrgent: true, now: start + .milliseconds(10))
        #expect(next(at: .milliseconds(10)) == nil)
        #expect(next(at: .milliseconds(500)) == .after(3, target: 3))
    }

    @Test mutating func `another server's word waits for the message itself`() {
        anchor(upTo: 3)
        plan.heard(of: 4, isUrgent: false, now: start)

        #expect(next(at: .milliseconds(99)) == nil)
        #expect(next(at: .milliseconds(100)) == .after(3, target: 3))
    }

    @Test mutating func `what was heard of and came is not read`() {
        anchor(upTo: 3)
        plan.heard(of: 4, isUrgent: false, now: start)

        insert(4)

        #expect(next(at: .seconds(1)) == nil)
    }

    @Test mutating func `what is missed during a read is read again`() {
        #expect(next() == .newest)
        plan.missedSomething()
        anchor(upTo: 3)
        plan.succeeded(isComplete: true, now: start)

        #expect(next(at: .milliseconds(500)) == .after(3, target: 3))
    }

    @Test mutating func `a page that is not the last is followed at once`() {
        anchor(upTo: 3)
        plan.missedSomething()
        #expect(next() == .after(3, target: 3))

        plan.succeeded(isComplete: false, now: start)

        #expect(next() == .after(3, target: 3))
    }

    @Test mutating func `a deaf room reads within each beat`() {
        anchor(upTo: 3)

        #expect(next(at: .zero, isDeaf: true) == .after(3, target: 3))
        plan.succeeded(isComplete: true, now: start)
        #expect(next(at: .milliseconds(2_999), isDeaf: true) == nil)
        #expect(next(at: .milliseconds(3_000), isDeaf: true) == .after(3, target: 3))
    }

    @Test mutating func `failures are repeated ever more slowly, up to a bound`() {
        var waits: [Duration] = []
        var now = Duration.zero
        for _ in 0..<8 {
            #expect(next(at: now) == .newest)
            plan.failed(now: start + now)
            let failedAt = now
            repeat { now += .milliseconds(1) } while isBarred(at: now)
            waits.append(now - failedAt)
        }

        #expect(
            waits == [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000].map { .milliseconds($0) })
        #expect(plan.isFailing)
    }

    @Test mutating func `a room far behind starts anew`() {
        anchor(upTo: 3)
        insert(3 + limits.catchUpMessages + 1)
        _ = next(at: .zero)

        #expect(next(at: .seconds(1)) == .newest)
    }

    // MARK: Helpers

    private mutating func next(
        at time: Duration = .zero, isNeeded: Bool = true, isDeaf: Bool = false
    ) -> ReadPlan.Request? {
        plan.next(now: start + time, window: window, isNeeded: isNeeded, isDeaf: isDeaf)
    }

    private func isBarred(at time: Duration) -> Bool {
        var copy = plan
        return copy.next(now: start + time, window: window, isNeeded: true, isDeaf: false) == nil
    }

    private mutating func anchor(upTo seq: Int64) {
        _ = window.anchor((1...seq).map(entry), head: seq, isWhole: true)
    }

    private mutating func insert(_ seq: Int64) {
        _ = window.insert(entry(seq))
    }

    private func entry(_ seq: Int64) -> Window.Entry {
        Window.Entry(
            seq: seq, id: .numbered(Int(seq)), author: "ada", frame: ByteBuffer(string: "{}"),
            arrivedAt: start, ordinal: 0, writtenAt: start)
    }
}
