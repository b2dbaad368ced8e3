import FoundationEssentials
import TestKit
import Testing

@testable import chatd

@Suite struct WantPlanTests {
    private typealias Plan = WantPlan
    private let start = ContinuousClock.Instant.now
    private let limits = WantLimits()
    private let ada = MemberID(number: 1)
    private let bo = MemberID(number: 2)

    private func ids(_ numbers: ClosedRange<Int>) -> [UUID] { numbers.map { .numbered($0) } }

    /// A plan in which `ada`, and then `bo`, have reported these and the shard has none.
    private func missing(_ numbers: ClosedRange<Int>) -> WantPlan {
        var plan = WantPlan(limits: limits)
        plan.reported(ids(numbers), by: ada, now: start)
        plan.reported(ids(numbers), by: bo, now: start)
        _ = plan.next(now: start)
        plan.lookedUp([], now: start)
        return plan
    }

    @Test func `reported ids are looked up together, then asked of one client`() {
        var plan = WantPlan(limits: limits)
        plan.reported(ids(1...3), by: ada, now: start)
        plan.reported(ids(3...4), by: bo, now: start)

        #expect(plan.next(now: start) == [.lookUp(ids(1...4))])
        #expect(plan.next(now: start) == [], "one at a time")
        plan.lookedUp([.numbered(2)], now: start)
        #expect(plan.next(now: start) == [.ask(ada, [.numbered(1), .numbered(3)])])
        #expect(plan.next(now: start) == [], "one at a time")
    }

    @Test func `what the shard has is not looked up again`() {
        var plan = WantPlan(limits: limits)
        plan.reported(ids(1...2), by: ada, now: start)
        _ = plan.next(now: start)
        plan.lookedUp(Set(ids(1...2)), now: start)

        plan.reported(ids(1...2), by: bo, now: start + .seconds(10))

        #expect(plan.next(now: start + .seconds(10)) == [])
        #expect(plan.candidateCount == 0)
    }

    @Test func `the shard is asked once per beat`() {
        var plan = WantPlan(limits: limits)
        plan.reported(ids(1...1), by: ada, now: start)
        #expect(plan.next(now: start) == [.lookUp(ids(1...1))])
        plan.lookedUp(Set(ids(1...1)), now: start)
        plan.reported(ids(2...2), by: bo, now: start)

        #expect(plan.next(now: start + .milliseconds(3_499)) == [])
        #expect(plan.next(now: start + .milliseconds(3_500)) == [.lookUp(ids(2...2))])
    }

    @Test func `a look-up that fails is repeated, and nobody is asked meanwhile`() {
        var plan = WantPlan(limits: limits)
        plan.reported(ids(1...1), by: ada, now: start)
        _ = plan.next(now: start)

        plan.lookUpFailed()

        #expect(plan.next(now: start + .seconds(1)) == [])
        #expect(plan.next(now: start + .seconds(4)) == [.lookUp(ids(1...1))])
    }

    @Test func `only who was asked is listened to, and once`() {
        var plan = missing(1...2)
        let taken1 = plan.takes(.numbered(1), from: ada)
        #expect(!taken1, "not asked yet")
        _ = plan.next(now: start)

        let taken2 = plan.takes(.numbered(1), from: bo)
        #expect(!taken2)
        let taken3 = plan.takes(.numbered(3), from: ada)
        #expect(!taken3)
        let taken4 = plan.takes(.numbered(1), from: ada)
        #expect(taken4)
        let taken5 = plan.takes(.numbered(1), from: ada)
        #expect(!taken5)
    }

    @Test func `whoever is silent for a beat is passed over`() {
        var plan = missing(1...2)
        #expect(plan.next(now: start) == [.ask(ada, ids(1...2))])

        #expect(plan.next(now: start + .milliseconds(6_999)) == [])
        #expect(plan.next(now: start + .seconds(7)) == [.ask(bo, ids(1...2))])
        let taken6 = plan.takes(.numbered(1), from: ada)
        #expect(!taken6)
        #expect(plan.next(now: start + .seconds(14)) == [])
        #expect(plan.candidateCount == 0, "nobody is left to ask")
        plan.reported(ids(1...2), by: ada, now: start + .seconds(15))
        #expect(plan.candidateCount == 0, "left alone for a while")
        plan.reported(ids(1...2), by: ada, now: start + .seconds(68))
        #expect(plan.candidateCount == 2)
    }

    @Test func `a client that leaves or forges is passed over at once`() {
        var plan = missing(1...2)
        _ = plan.next(now: start)
        plan.left(ada)
        #expect(plan.next(now: start) == [.ask(bo, ids(1...2))])

        let taken7 = plan.takes(.numbered(1), from: bo)
        #expect(taken7)
        plan.forged(.numbered(1), by: bo, now: start)
        #expect(plan.next(now: start) == [])
        #expect(plan.candidateCount == 0)
    }

    @Test func `a whole answer makes room for the next question`() {
        var plan = missing(1...60)
        #expect(plan.next(now: start) == [.ask(ada, ids(1...50))])
        for id in ids(1...50) {
            let taken8 = plan.takes(id, from: ada)
            #expect(taken8)
            plan.stored(id, now: start)
        }

        #expect(plan.next(now: start) == [.ask(ada, ids(51...60))])
    }

    @Test func `what could not be stored is asked for again, unless it never can be`() {
        var plan = missing(1...2)
        _ = plan.next(now: start)
        for id in ids(1...2) { _ = plan.takes(id, from: ada) }
        plan.failed(.numbered(1), isFinal: true, now: start)
        plan.failed(.numbered(2), isFinal: false, now: start)

        #expect(plan.next(now: start) == [])
        #expect(plan.next(now: start + .seconds(4)) == [.ask(ada, [.numbered(2)])])
    }

    @Test func `what another server asks for is left to it for a beat`() {
        var plan = missing(1...2)

        plan.othersAsk(for: ids(1...1), now: start)

        #expect(plan.next(now: start) == [.ask(ada, [.numbered(2)])])
        plan.reported(ids(1...1), by: bo, now: start + .seconds(6))
        #expect(plan.candidateCount == 1)
        plan.reported(ids(1...1), by: bo, now: start + .seconds(7))
        #expect(plan.candidateCount == 2)
    }

    @Test func `a compact report that does not fit is asked about`() {
        var plan = WantPlan(limits: limits)
        plan.doubted(by: ada, above: 7, now: start)
        plan.doubted(by: bo, above: 7, now: start)

        #expect(plan.next(now: start) == [.askReport(ada, above: 7)])
        plan.doubted(by: ada, above: 7, now: start)
        plan.reported(ids(8...9), by: ada, now: start)
        #expect(plan.next(now: start) == [.lookUp(ids(8...9)), .askReport(bo, above: 7)])
        plan.reported([], by: bo, now: start)
        plan.doubted(by: bo, above: 7, now: start + .seconds(5))
        plan.lookedUp([], now: start)
        #expect(plan.next(now: start + .seconds(5)) == [.ask(ada, ids(8...9))])
    }

    @Test func `reports are bounded`() {
        var plan = WantPlan(limits: limits)
        for member in 0..<20 {
            let base = member * 1_000
            plan.reported(
                ids(base...(base + 999)), by: MemberID(number: UInt64(member)), now: start)
        }

        #expect(plan.candidateCount == limits.candidates)
        guard case .lookUp(let asked) = plan.next(now: start).first else {
            Issue.record("nothing was looked up")
            return
        }
        #expect(asked.count == limits.lookUpIDs)
    }

    // MARK: Invented ids

    private func inventor(_ number: Int) -> MemberID { MemberID(number: UInt64(100 + number)) }

    @Test func `one client has a share of the candidates, however often it reports`() {
        var plan = WantPlan(limits: limits)
        for round in 0..<20 {
            let base = 1_000 * (round + 1)
            plan.reported(ids(base...(base + 999)), by: ada, now: start)
        }

        #expect(plan.candidateCount == limits.memberCandidates)
    }

    @Test func `who comes when all places are taken gets an equal share of them`() {
        var plan = WantPlan(limits: limits)
        for one in 0..<4 {
            let base = 10_000 * (one + 1)
            plan.reported(ids(base...(base + 999)), by: inventor(one), now: start)
        }
        #expect(plan.candidateCount == limits.candidates)

        plan.reported(ids(1...250), by: ada, now: start)

        #expect(plan.candidateCount == limits.candidates)
        guard case .lookUp(let asked) = plan.next(now: start).first else {
            Issue.record("nothing was looked up")
            return
        }
        #expect(Set(asked).isSuperset(of: ids(1...100)), "an equal share of the look-up")
        #expect(asked.count == limits.lookUpIDs)
    }

    @Test func `who gave nothing is asked again after all others`() {
        var plan = WantPlan(limits: limits)
        plan.reported(ids(1_000...1_200), by: inventor(0), now: start)
        plan.reported(ids(1...120), by: ada, now: start)
        _ = plan.next(now: start)
        plan.lookedUp([], now: start)
        #expect(plan.next(now: start) == [.ask(inventor(0), ids(1_000...1_049))])
        let isTaken = plan.takes(.numbered(1_000), from: inventor(0))
        #expect(isTaken)
        plan.stored(.numbered(1_000), now: start)

        let later = start + limits.patience

        #expect(plan.next(now: later) == [.ask(ada, ids(1...50))])
    }

    @Test func `a report is asked for although ids wait`() {
        var plan = missing(1...120)
        plan.doubted(by: MemberID(number: 3), above: 7, now: start)

        #expect(plan.next(now: start) == [.askReport(MemberID(number: 3), above: 7)])
        plan.left(MemberID(number: 3))
        plan.doubted(by: MemberID(number: 4), above: 7, now: start)
        #expect(plan.next(now: start) == [.ask(ada, ids(1...50))])
    }

    /// Many clients invent ids, some leave and come back under new numbers all the time; the one
    /// who has the lost messages gives them back all the same, within a beat for each other one.
    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func `whatever others invent, what was lost comes back in time`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var plan = WantPlan(limits: limits)
        var now = start
        var lost = Set(ids(1...200))
        var nextInventor = 0
        var inventors = (0..<12).map { _ -> MemberID in
            nextInventor += 1
            return inventor(nextInventor)
        }
        var invented = 1_000

        while !lost.isEmpty, now < start + .seconds(600) {
            now += .milliseconds(500)
            for index in inventors.indices where Bool.random(using: &random) {
                if Int.random(in: 0..<20, using: &random) == 0 {
                    plan.left(inventors[index])
                    nextInventor += 1
                    inventors[index] = inventor(nextInventor)
                }
                plan.reported(ids(invented...(invented + 249)), by: inventors[index], now: now)
                invented += 250
            }
            if Int.random(in: 0..<10, using: &random) == 0 {
                plan.reported(ids(1...200).filter(lost.contains), by: ada, now: now)
            }
            for action in plan.next(now: now) {
                switch action {
                case .lookUp: plan.lookedUp([], now: now)
                case .ask(let member, let ids) where member == ada:
                    for id in ids {
                        let isTaken = plan.takes(id, from: ada)
                        #expect(isTaken)
                        plan.stored(id, now: now)
                        lost.remove(id)
                    }
                case .ask, .askReport: break  // Who invents has nothing to give.
                }
            }
            #expect(plan.candidateCount <= limits.candidates)
        }

        #expect(lost.isEmpty, "seed \(seed): \(lost.count) are lost")
    }

    /// Clients report, answer, forge, leave and keep silent at random; in the end, when the honest
    /// one is left alone with the room, everything that was lost is back.
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `whatever clients do, one is asked at a time and all comes back`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var plan = WantPlan(limits: limits)
        var now = start
        var lost = Set(ids(1...120))
        var asked: (member: MemberID, ids: Set<UUID>)?
        let members = (1...5).map { MemberID(number: $0) }
        let honest = members[0]

        for step in 0..<4_000 where !lost.isEmpty {
            now += .milliseconds(Int.random(in: 0...900, using: &random))
            let isCalm = step > 1_500
            let member = isCalm ? honest : members.randomElement(using: &random)!
            if Int.random(in: 0..<6, using: &random) == 0 {
                let ids = lost.filter { _ in Bool.random(using: &random) }
                plan.reported(ids, by: member, now: now)
            } else if let question = asked, question.member == member,
                let id = question.ids.randomElement(using: &random)
            {
                if plan.takes(id, from: member) {
                    asked?.ids.remove(id)
                    switch isCalm || member == honest ? 0 : Int.random(in: 0..<4, using: &random) {
                    case 0, 1:
                        plan.stored(id, now: now)
                        lost.remove(id)
                    case 2: plan.failed(id, isFinal: false, now: now)
                    default: plan.forged(id, by: member, now: now)
                    }
                }
            } else if !isCalm, member != honest, Int.random(in: 0..<9, using: &random) == 0 {
                plan.left(member)
            }
            for action in plan.next(now: now) {
                switch action {
                case .lookUp(let ids):
                    #expect(ids.count <= limits.lookUpIDs)
                    plan.lookedUp(Set(ids).subtracting(lost), now: now)
                case .ask(let member, let ids):
                    #expect(lost.isSuperset(of: ids), "seed \(seed)")
                    asked = (member, Set(ids))
                case .askReport: Issue.record("nobody was in doubt")
                }
            }
            #expect(plan.candidateCount <= limits.candidates)
        }

        #expect(lost.isEmpty, "seed \(seed): \(lost.count) are lost")
    }
}
