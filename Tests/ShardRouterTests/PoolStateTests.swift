import TestKit
import Testing

@testable import ShardRouter

@Suite struct PoolStateTests {
    private let start = ContinuousClock.now
    private let limits: PoolLimits

    init() {
        var limits = PoolLimits()
        limits.connections = 3
        limits.kept = 1
        limits.connecting = 2
        limits.waiters = 2
        limits.idle = .seconds(60)
        limits.age = .seconds(1_000)
        limits.firstPause = .seconds(1)
        limits.longestPause = .seconds(4)
        self.limits = limits
    }

    private func ask(
        _ pool: inout PoolState, _ ticket: Int, after: Duration = .zero,
        patience: Duration = .seconds(10)
    ) -> [PoolState.Action] {
        pool.ask(ticket: ticket, deadline: start + after + patience, now: start + after)
    }

    /// A pool whose connections 1 … `count` rest.
    private func warm(_ count: Int) -> PoolState {
        var pool = PoolState(limits: limits)
        for _ in 0..<count { _ = pool.adopt(jitter: 0, now: start) }
        return pool
    }

    @Test func `a pool that begins makes the connections that it keeps`() {
        var pool = PoolState(limits: limits)

        #expect(pool.tick(now: start) == [.connect(1)])
        #expect(pool.tick(now: start).isEmpty)
        #expect(pool.connected(1, jitter: 0, now: start).isEmpty)
        #expect(pool.idleCount == 1)
    }

    @Test func `what rests is lent at once, the one used last first`() {
        var pool = warm(2)

        #expect(ask(&pool, 1) == [.lend(connection: 2, ticket: 1)])
        #expect(ask(&pool, 2) == [.lend(connection: 1, ticket: 2)])
        #expect(pool.returned(2, .clean, now: start).isEmpty)
        #expect(ask(&pool, 3) == [.lend(connection: 2, ticket: 3)])
    }

    @Test func `callers wait in order, and never more connections than allowed are made`() {
        var pool = warm(2)
        _ = ask(&pool, 1)
        _ = ask(&pool, 2)

        #expect(ask(&pool, 3) == [.connect(3)])
        #expect(ask(&pool, 4).isEmpty)
        #expect(pool.open == 3)
        #expect(pool.returned(1, .clean, now: start) == [.lend(connection: 1, ticket: 3)])
        #expect(
            pool.connected(3, jitter: 0, now: start) == [.lend(connection: 3, ticket: 4)])
    }

    @Test func `too many who wait are refused at once`() {
        var pool = warm(3)
        for ticket in 1...5 { _ = ask(&pool, ticket) }

        #expect(ask(&pool, 6) == [.refuse(ticket: 6, .crowded)])
    }

    @Test func `patience ends for those who wait, and for nobody else`() {
        var pool = warm(3)
        for ticket in 1...3 { _ = ask(&pool, ticket) }
        _ = ask(&pool, 4, patience: .seconds(1))
        _ = ask(&pool, 5, patience: .seconds(2))

        #expect(pool.tick(now: start + .seconds(1)) == [.refuse(ticket: 4, .late)])
        #expect(
            pool.returned(2, .clean, now: start + .seconds(1))
                == [.lend(connection: 2, ticket: 5)])
        #expect(pool.giveUp(ticket: 5).isEmpty, "its turn has come")
    }

    @Test func `a caller who gives up loses its place`() {
        var pool = warm(3)
        for ticket in 1...5 { _ = ask(&pool, ticket) }

        #expect(pool.giveUp(ticket: 4) == [.refuse(ticket: 4, .abandoned)])
        #expect(pool.returned(1, .clean, now: start) == [.lend(connection: 1, ticket: 5)])
    }

    @Test func `what rests beside a broken connection is not trusted`() {
        var pool = warm(3)
        _ = ask(&pool, 1)

        let actions = pool.returned(3, .broken, now: start)

        #expect(actions.prefix(3) == [.close(3), .close(1), .close(2)])
        #expect(pool.idleCount == 0)
    }

    @Test func `a broken connection is closed and replaced for who waits`() {
        var pool = warm(3)
        for ticket in 1...4 { _ = ask(&pool, ticket) }

        #expect(pool.returned(1, .broken, now: start) == [.close(1), .connect(4)])
        #expect(
            pool.connected(4, jitter: 0, now: start) == [.lend(connection: 4, ticket: 4)])
    }

    @Test func `a connection is cleaned before the next one gets it`() {
        var pool = warm(3)
        for ticket in 1...4 { _ = ask(&pool, ticket) }

        #expect(pool.returned(1, .needsReset, now: start) == [.reset(1)])
        #expect(
            pool.resetEnded(1, isClean: true, now: start) == [.lend(connection: 1, ticket: 4)])
        #expect(pool.returned(2, .needsReset, now: start) == [.reset(2)])
        #expect(pool.resetEnded(2, isClean: false, now: start) == [.close(2)])
    }

    @Test func `while none comes about callers are refused, and pauses grow up to a bound`() {
        var pool = PoolState(limits: limits)
        _ = pool.tick(now: start)
        _ = ask(&pool, 1)
        #expect(ask(&pool, 2) == [.connect(2)])

        #expect(pool.connectFailed(1, jitter: 1, now: start).isEmpty, "another one is on its way")
        #expect(
            pool.connectFailed(2, jitter: 1, now: start)
                == [1, 2].map { .refuse(ticket: $0, .away(retryAfter: .seconds(2))) })
        #expect(ask(&pool, 3) == [.refuse(ticket: 3, .away(retryAfter: .seconds(2)))])
        var now = start
        var connection = 2
        for pause in [2, 4, 4] {
            #expect(pool.tick(now: now + .seconds(pause) - .milliseconds(1)).isEmpty)
            now += .seconds(pause)
            connection += 1
            #expect(pool.tick(now: now) == [.connect(connection)], "one at a time")
            #expect(pool.connectFailed(connection, jitter: 1, now: now).isEmpty)
        }
        _ = pool.tick(now: now + .seconds(4))
        _ = pool.connected(connection + 1, jitter: 0, now: now)
        #expect(ask(&pool, 4) == [.lend(connection: connection + 1, ticket: 4)])
    }

    @Test func `with connections that work, a failed one is no reason to refuse`() {
        var pool = warm(1)
        _ = ask(&pool, 1)
        #expect(ask(&pool, 2) == [.connect(2)])

        #expect(pool.connectFailed(2, jitter: 1, now: start).isEmpty)
        #expect(pool.returned(1, .clean, now: start) == [.lend(connection: 1, ticket: 2)])
    }

    @Test func `what rests for too long is closed, down to what is kept`() {
        var pool = warm(3)
        _ = ask(&pool, 1)
        _ = pool.returned(3, .clean, now: start + .seconds(30))

        #expect(pool.tick(now: start + .seconds(59)).isEmpty)
        #expect(pool.tick(now: start + .seconds(60)) == [.close(1), .close(2)])
        #expect(pool.tick(now: start + .seconds(500)).isEmpty)
    }

    @Test func `an old connection is replaced, at rest or when it comes back`() {
        var pool = PoolState(limits: limits)
        _ = pool.adopt(jitter: 1, now: start)
        _ = pool.adopt(jitter: 0, now: start)
        _ = ask(&pool, 1)

        #expect(pool.tick(now: start + .seconds(750)) == [.close(1)], "a quarter earlier")
        #expect(pool.returned(2, .clean, now: start + .seconds(1_000)) == [.close(2), .connect(3)])
    }

    @Test func `a closed pool refuses, and closes what comes back or about`() {
        var pool = warm(3)
        for ticket in 1...2 { _ = ask(&pool, ticket) }
        _ = pool.returned(3, .needsReset, now: start)

        #expect(pool.close() == [.close(1)])
        #expect(ask(&pool, 9) == [.refuse(ticket: 9, .closed)])
        #expect(pool.resetEnded(3, isClean: true, now: start) == [.close(3)])
        #expect(pool.returned(2, .clean, now: start) == [.close(2)])
        #expect(pool.open == 0)
        #expect(pool.tick(now: start).isEmpty)
    }

    @Test(arguments: [1, 2, 3, 4, 71_193] as [UInt64])
    func `whatever happens, every caller is answered once and no connection is lost`(
        seed: UInt64
    ) {
        var world = World(limits: limits, seed: seed, now: start)

        for _ in 0..<4_000 { world.step() }
        world.settle()

        #expect(world.problems == [], "seed \(seed)")
        #expect(world.answered.count == world.asked, "seed \(seed)")
        #expect(world.lent > 400, "seed \(seed)")
    }
}

/// A pool in a world that does anything in any order, and remembers what it promised.
private struct World {
    private var pool: PoolState
    private let limits: PoolLimits
    private var generator: SeededGenerator
    private var now: ContinuousClock.Instant
    private var connecting: Set<Int> = []
    private var resetting: Set<Int> = []
    private var leased: Set<Int> = []
    private var open: Set<Int> = []
    private(set) var asked = 0
    private(set) var lent = 0
    private(set) var answered: Set<Int> = []
    private(set) var problems: [String] = []

    init(limits: PoolLimits, seed: UInt64, now: ContinuousClock.Instant) {
        self.limits = limits
        pool = PoolState(limits: limits)
        generator = SeededGenerator(seed: seed)
        self.now = now
    }

    mutating func step() {
        now += .milliseconds(Int.random(in: 0...400, using: &generator))
        switch Int.random(in: 0..<8, using: &generator) {
        case 0, 1, 2:
            asked += 1
            let patience = Duration.milliseconds(Int.random(in: 0...3_000, using: &generator))
            perform(pool.ask(ticket: asked, deadline: now + patience, now: now))
        case 3:
            if let number = connecting.randomElement(using: &generator) {
                connecting.remove(number)
                if Int.random(in: 0..<3, using: &generator) > 0 {
                    open.insert(number)
                    perform(pool.connected(number, jitter: 0.5, now: now))
                } else {
                    perform(pool.connectFailed(number, jitter: 0.5, now: now))
                }
            }
        case 4, 5: giveBack()
        case 6:
            if let number = resetting.randomElement(using: &generator) {
                resetting.remove(number)
                let isClean = Bool.random(using: &generator)
                perform(pool.resetEnded(number, isClean: isClean, now: now))
            }
        default:
            if asked > 0, Bool.random(using: &generator) {
                perform(pool.giveUp(ticket: Int.random(in: 1...asked, using: &generator)))
            }
            perform(pool.tick(now: now))
        }
    }

    /// Everything comes to its end.
    mutating func settle() {
        perform(pool.close())
        for number in connecting {
            open.insert(number)
            perform(pool.connected(number, jitter: 0, now: now))
        }
        for number in resetting { perform(pool.resetEnded(number, isClean: true, now: now)) }
        for number in leased {
            leased.remove(number)
            perform(pool.returned(number, .clean, now: now))
        }
        if !open.isEmpty { problems.append("left open: \(open.sorted())") }
        if pool.open != 0 { problems.append("the pool believes that \(pool.open) are open") }
    }

    private mutating func giveBack() {
        guard let number = leased.randomElement(using: &generator) else { return }
        leased.remove(number)
        let conditions: [PoolState.Condition] = [.clean, .clean, .needsReset, .broken]
        perform(
            pool.returned(
                number, conditions[Int.random(in: 0..<4, using: &generator)], now: now))
    }

    private mutating func perform(_ actions: [PoolState.Action]) {
        for action in actions {
            switch action {
            case .lend(let number, let ticket):
                if !open.contains(number) { problems.append("lent \(number), which is not open") }
                if !leased.insert(number).inserted { problems.append("lent \(number) twice") }
                lent += 1
                answer(ticket)
            case .refuse(let ticket, _): answer(ticket)
            case .connect(let number): connecting.insert(number)
            case .reset(let number): resetting.insert(number)
            case .close(let number):
                if open.remove(number) == nil { problems.append("closed \(number) twice") }
            }
        }
        let count = connecting.count + open.count
        if count > limits.connections { problems.append("\(count) connections") }
    }

    private mutating func answer(_ ticket: Int) {
        if !answered.insert(ticket).inserted { problems.append("answered \(ticket) twice") }
    }
}
