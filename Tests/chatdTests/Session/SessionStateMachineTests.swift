import Testing

@testable import chatd

@Suite struct SessionStateMachineTests {
    let start = ContinuousClock.Instant.now
    var machine: SessionStateMachine

    init() {
        machine = SessionStateMachine(limits: ChatLimits(), now: start)
        machine.welcomed()
    }

    @Test func `frames before hello are held, up to a bound`() {
        var machine = SessionStateMachine(limits: ChatLimits(), now: start)

        let outcomes = (0..<129).map { _ in machine.received(at: start, pendingBytes: 0) }

        #expect(outcomes.dropLast().allSatisfy { $0 == .hold })
        #expect(outcomes.last == .end(.tooManyFrames))
    }

    @Test func `frames before hello are bounded by their bytes, too`() {
        var machine = SessionStateMachine(limits: ChatLimits(), now: start)
        let longest = ChatLimits().frameBytes

        let outcomes = (0..<5).map { _ in
            machine.received(at: start, bytes: longest, pendingBytes: 0)
        }

        #expect(outcomes == [.hold, .hold, .hold, .hold, .end(.tooManyFrames)])
    }

    @Test mutating func `frames after the end are ignored, and it ends once`() {
        #expect(machine.end() == true)
        #expect(machine.end() == false)

        #expect(machine.received(at: start, pendingBytes: 0) == .ignore)
        #expect(machine.ticked(at: start + .seconds(60), pendingBytes: 0) == nil)
    }

    @Test(arguments: [true, false])
    func `a session ends when its identity does, welcomed or not`(isOpen: Bool) {
        let expiry = start + .seconds(5)
        var machine = SessionStateMachine(limits: ChatLimits(), now: start, expiry: expiry)
        if isOpen { machine.welcomed() }

        #expect(machine.ticked(at: expiry - .nanoseconds(1), pendingBytes: 0) == nil)
        #expect(machine.ticked(at: expiry, pendingBytes: 0) == .expired)
        #expect(machine.received(at: expiry, pendingBytes: 0) == .end(.expired))
        _ = machine.end()
        #expect(machine.ticked(at: expiry, pendingBytes: 0) == nil)
        #expect(machine.received(at: expiry, pendingBytes: 0) == .ignore)
    }

    @Test func `an identity that is proven again lasts longer`() {
        var machine = SessionStateMachine(
            limits: ChatLimits(), now: start, expiry: start + .seconds(5))
        machine.welcomed()

        machine.renewed(until: start + .seconds(9))

        #expect(machine.ticked(at: start + .seconds(8), pendingBytes: 0) == nil)
        #expect(machine.ticked(at: start + .seconds(9), pendingBytes: 0) == .expired)
    }

    @Test mutating func `being welcomed after the end changes nothing`() {
        var machine = SessionStateMachine(limits: ChatLimits(), now: start)
        _ = machine.end()

        machine.welcomed()

        #expect(machine.phase == .ending)
    }

    @Test mutating func `twenty messages a second are taken and the next is refused`() {
        let outcomes = (0..<21).map { _ in machine.message(at: start) }

        #expect(outcomes.dropLast().allSatisfy { $0 == .handle })
        #expect(
            outcomes.last
                == .refuse(.init(code: .rateLimited, retryAfter: .milliseconds(50))))
    }

    @Test mutating func `messages that wait for their shard are bounded`() {
        var now = start
        for _ in 0..<64 {
            #expect(machine.message(at: now) == .handle)
            now += .milliseconds(50)
        }
        #expect(
            machine.message(at: now)
                == .refuse(.init(code: .overloaded, retryAfter: .milliseconds(500))))

        machine.writeEnded()

        #expect(machine.message(at: now + .seconds(1)) == .handle)
    }

    @Test mutating func `pages that are read at once are bounded`() {
        #expect(machine.history(at: start) == .handle)
        #expect(machine.history(at: start) == .handle)
        #expect(
            machine.history(at: start)
                == .refuse(.init(code: .overloaded, retryAfter: .milliseconds(500))))

        machine.historyEnded()

        #expect(machine.history(at: start) == .handle)
    }

    @Test mutating func `the tenth bad frame within a minute ends the connection`() {
        for second in 0..<9 {
            #expect(machine.badFrame(at: start + .seconds(second)) == nil)
        }
        #expect(machine.badFrame(at: start + .seconds(59)) == .tooManyErrors)
    }

    @Test mutating func `bad frames over more than a minute are borne`() {
        for index in 0..<100 {
            #expect(machine.badFrame(at: start + .seconds(7 * index)) == nil)
        }
    }

    @Test mutating func `who floods is refused and at last thrown out`() {
        let outcomes = (0..<20 + 1_200).map { _ in machine.message(at: start) }

        #expect(outcomes.prefix(20).allSatisfy { $0 == .handle })
        let refusal = SessionStateMachine.Refusal(
            code: .rateLimited, retryAfter: .milliseconds(50))
        #expect(outcomes.dropFirst(20).dropLast().allSatisfy { $0 == .refuse(refusal) })
        #expect(outcomes.last == .end(.tooManyFrames))
    }

    @Test mutating func `heartbeats, pages and typing have a rate of their own`() {
        for _ in 0..<50 { #expect(machine.beat(at: start) == .handle) }

        let refusal = SessionStateMachine.Intake.refuse(
            .init(code: .rateLimited, retryAfter: .milliseconds(20)))
        #expect(machine.beat(at: start) == refusal)
        #expect(machine.history(at: start) == refusal)
        #expect(machine.typing(at: start) == refusal)
        #expect(machine.message(at: start) == .handle)
    }

    @Test mutating func `thirty seconds without a beat end the connection`() {
        _ = machine.beat(at: start + .seconds(5))

        #expect(machine.ticked(at: start + .milliseconds(34_999), pendingBytes: 0) == nil)
        #expect(machine.ticked(at: start + .seconds(35), pendingBytes: 0) == .silent)
    }

    @Test mutating func `a socket that stays slow ends and one that recovers does not`() {
        let slow = SessionLimits().pendingBytes + 1
        for second in 0..<25 { _ = machine.beat(at: start + .seconds(second)) }

        #expect(machine.ticked(at: start, pendingBytes: slow) == nil)
        #expect(machine.ticked(at: start + .seconds(9), pendingBytes: slow) == nil)
        #expect(machine.ticked(at: start + .seconds(10), pendingBytes: 0) == nil)
        #expect(machine.ticked(at: start + .seconds(11), pendingBytes: slow) == nil)
        #expect(machine.ticked(at: start + .seconds(20), pendingBytes: slow) == nil)
        #expect(machine.ticked(at: start + .seconds(21), pendingBytes: slow) == .tooSlow)
    }

    @Test mutating func `a socket with far too much waiting ends at once`() {
        let bytes = SessionLimits().pendingBytesAtMost + 1

        #expect(machine.ticked(at: start, pendingBytes: bytes) == .tooSlow)
        #expect(machine.received(at: start, pendingBytes: bytes) == .end(.tooSlow))
    }

    @Test mutating func `typing is passed on once a second`() {
        let outcomes = [0, 100, 999, 1_000, 1_500, 2_000].map {
            machine.typing(at: start + .milliseconds($0))
        }

        #expect(outcomes == [.handle, .ignore, .ignore, .handle, .ignore, .handle])
    }

    @Test(
        arguments: [
            (SessionStateMachine.Ending.silent, 4003), (.tooSlow, 4002), (.tooManyErrors, 4429),
            (.tooManyFrames, 4429), (.stopped, 1001),
        ] as [(SessionStateMachine.Ending, UInt16)])
    func `each ending has its close code`(ending: SessionStateMachine.Ending, code: UInt16) {
        #expect(ending.code.rawValue == code)
        #expect(ending.reason.utf8.count <= 123)
    }
}
