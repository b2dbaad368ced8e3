import Testing

@testable import chatd

@Suite struct FarewellPlanTests {
    private static let reconnect: ClosedRange<Duration> = .milliseconds(200)...(.seconds(5))

    private static func plan(_ sockets: Int, _ time: Duration) -> FarewellPlan {
        FarewellPlan(sockets: sockets, time: time, reconnect: reconnect)
    }

    @Test(arguments: [1, 2, 65, 5_000], [1, 10, 60])
    func `everybody is let go in turn, and is back in time`(sockets: Int, seconds: Int) {
        let time = Duration.seconds(seconds)
        let plan = Self.plan(sockets, time)

        let closings = (0..<sockets).map(plan.closing)
        let delays = (0..<sockets).map(plan.reconnectAfter)

        #expect(closings == closings.sorted())
        #expect(closings.allSatisfy { $0 >= time / 10 })
        #expect(delays.allSatisfy { Self.reconnect.contains($0) })
        #expect(zip(closings, delays).allSatisfy { $0 + $1 <= time })
    }

    @Test func `no two clients come back after the same time`() {
        let plan = Self.plan(20_000, .seconds(10))

        let delays = (0..<20_000).map(plan.reconnectAfter)

        #expect(Set(delays).count == delays.count)
        // Whatever part of the time is looked at, as many come back in it as in any other.
        let tenths = Dictionary(grouping: delays) {
            Int(($0 - .milliseconds(200)) / .milliseconds(480))
        }
        #expect(tenths.values.allSatisfy { (1_900...2_100).contains($0.count) })
    }

    @Test func `even a drain that takes no time spreads who comes back`() {
        let plan = Self.plan(10, .zero)

        #expect((0..<10).allSatisfy { plan.closing($0) == .zero })
        #expect(Set((0..<10).map(plan.reconnectAfter)).count == 10)
    }
}
