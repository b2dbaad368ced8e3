import TestKit
import Testing

@testable import ShardRouter

@Suite struct WriteCircuitTests {
    private let start = ContinuousClock.now
    private var limits: CircuitLimits {
        var limits = CircuitLimits()
        limits.tolerance = .seconds(2)
        limits.firstPause = .seconds(1)
        limits.longestPause = .seconds(4)
        limits.trial = .seconds(6)
        return limits
    }

    /// One that has just been opened, at `start`.
    private func opened() -> WriteCircuit {
        var circuit = WriteCircuit(limits: limits)
        #expect(circuit.failed(start: start - .seconds(2), now: start, jitter: 1) == true)
        return circuit
    }

    @Test func `failures are borne for a while, and forgotten at a success`() {
        var circuit = WriteCircuit(limits: limits)

        #expect(circuit.failed(start: start, now: start, jitter: 1) == false)
        #expect(
            circuit.failed(start: start + .seconds(1), now: start + .seconds(1.9), jitter: 1)
                == false)
        #expect(circuit.succeeded(now: start + .seconds(1.95)) == false)
        #expect(
            circuit.failed(start: start + .seconds(2), now: start + .seconds(2), jitter: 1) == false
        )
        #expect(circuit.ask(now: start + .seconds(2)) == .allowed)
        #expect(!circuit.isOpen)
        #expect(
            circuit.failed(start: start + .seconds(3), now: start + .seconds(4), jitter: 1) == true)
        #expect(circuit.isOpen)
    }

    @Test func `one attempt that took longer than is borne opens it`() {
        var circuit = WriteCircuit(limits: limits)

        #expect(circuit.failed(start: start, now: start + .seconds(3), jitter: 1) == true)
    }

    @Test func `one lane that is stuck does not outweigh another that stores`() {
        var circuit = WriteCircuit(limits: limits)
        _ = circuit.succeeded(now: start + .seconds(4.9))

        #expect(circuit.failed(start: start, now: start + .seconds(5), jitter: 1) == false)
        #expect(!circuit.isStalled(since: start, now: start + .seconds(6.8)))
        #expect(circuit.isStalled(since: start, now: start + .seconds(6.9)))
    }

    @Test func `an attempt that hangs is noticed before it ends`() {
        let circuit = WriteCircuit(limits: limits)

        #expect(!circuit.isStalled(since: start, now: start + .seconds(1.9)))
        #expect(circuit.isStalled(since: start, now: start + .seconds(2)))
        #expect(!opened().isStalled(since: start, now: start + .seconds(60)), "open already")
    }

    @Test func `when nobody tries although it is time, that is seen`() {
        var circuit = opened()

        #expect(!circuit.isOverdue(now: start + .seconds(4.9)))
        #expect(circuit.isOverdue(now: start + .seconds(5)))
        _ = circuit.ask(now: start + .seconds(5))
        #expect(!circuit.isOverdue(now: start + .seconds(5)), "somebody tries")
    }

    @Test func `open, it refuses until the pause is over, then lets one message try`() {
        var circuit = opened()

        #expect(circuit.ask(now: start + .seconds(0.4)) == .refused(retryAfter: .seconds(0.6)))
        #expect(circuit.ask(now: start + .seconds(1)) == .allowed)
        #expect(circuit.ask(now: start + .seconds(1)) == .refused(retryAfter: .seconds(1)))
    }

    @Test func `a trial that succeeds closes it for all`() {
        var circuit = opened()
        _ = circuit.ask(now: start + .seconds(1))

        #expect(circuit.succeeded(now: start + .seconds(1)) == true)

        #expect(circuit.ask(now: start + .seconds(1)) == .allowed)
        #expect(circuit.ask(now: start + .seconds(1)) == .allowed)
    }

    @Test func `each trial that fails makes a longer pause, up to the longest`() {
        var circuit = opened()
        var now = start
        var pauses: [Duration] = [.seconds(1)]
        for _ in 0..<4 {
            now += pauses[pauses.count - 1]
            #expect(circuit.ask(now: now) == .allowed)
            #expect(circuit.failed(start: now, now: now, jitter: 1) == true)
            guard case .refused(let pause) = circuit.ask(now: now) else {
                Issue.record("it let a message through")
                return
            }
            pauses.append(pause)
        }

        #expect(pauses == [.seconds(1), .seconds(2), .seconds(4), .seconds(4), .seconds(4)])
    }

    @Test func `jitter shortens the pause`() {
        var circuit = WriteCircuit(limits: limits)

        _ = circuit.failed(start: start - .seconds(2), now: start, jitter: 0.5)

        #expect(circuit.ask(now: start) == .refused(retryAfter: .seconds(0.5)))
    }

    @Test func `an attempt from before it opened changes nothing by failing`() {
        var circuit = opened()

        #expect(
            circuit.failed(start: start - .seconds(1), now: start + .seconds(0.5), jitter: 1)
                == false)

        #expect(circuit.ask(now: start + .seconds(0.5)) == .refused(retryAfter: .seconds(0.5)))
    }

    @Test func `a trial of which nothing is heard makes room for another`() {
        var circuit = opened()
        _ = circuit.ask(now: start + .seconds(1))

        #expect(circuit.ask(now: start + .seconds(6.5)) == .refused(retryAfter: .seconds(0.5)))
        #expect(circuit.ask(now: start + .seconds(7)) == .allowed)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `it never stays open for longer than a pause and a trial`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var circuit = WriteCircuit(limits: limits)
        var now = start
        var lastAllowed = start

        for _ in 0..<5_000 {
            now += .milliseconds(Int.random(in: 1...400, using: &generator))
            if circuit.ask(now: now) == .allowed { lastAllowed = now }
            switch Int.random(in: 0..<10, using: &generator) {
            case 0: _ = circuit.succeeded(now: now)
            case 1..<6: _ = circuit.failed(start: now - .seconds(3), now: now, jitter: 1)
            default: break
            }
            #expect(now - lastAllowed <= .seconds(10), "seed \(seed)")
        }
    }
}
