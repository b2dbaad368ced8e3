import Testing

@testable import ShardOperations

@Suite struct FleetProgressTests {
    private let shards = ["a", "b", "c", "d"]

    @Test func `the canary goes alone, is checked, and then the others follow`() {
        var progress = FleetProgress(pending: shards, canary: "c", parallel: 2)

        #expect(progress.next() == [.migrate("c")])
        #expect(progress.next() == [])
        progress.ended("c", problem: nil)
        #expect(progress.next() == [.check("c")])
        progress.checked(problem: nil)
        #expect(progress.next() == [.migrate("a"), .migrate("b")])
        #expect(progress.next() == [])
        progress.ended("b", problem: nil)
        #expect(progress.next() == [.migrate("d")])
        progress.ended("a", problem: nil)
        progress.ended("d", problem: nil)

        #expect(progress.isOver)
        #expect(progress.failures == 0)
        #expect(progress.shards.allSatisfy { $0.state == .done })
    }

    @Test func `a canary that lacks nothing is checked all the same`() {
        var progress = FleetProgress(pending: ["a"], canary: "z")

        #expect(progress.next() == [.check("z")])
        progress.checked(problem: nil)
        #expect(progress.next() == [.migrate("a")])
    }

    @Test func `nothing follows a canary that failed`() {
        var progress = FleetProgress(pending: shards, maxFailures: 4)
        _ = progress.next()

        progress.ended("a", problem: "no")

        #expect(progress.isOver)
        #expect(progress.next() == [])
        #expect(progress.shards.filter { $0.state == .pending }.map(\.name) == ["b", "c", "d"])
    }

    @Test func `nothing follows a check that failed`() {
        var progress = FleetProgress(pending: shards, maxFailures: 4)
        _ = progress.next()
        progress.ended("a", problem: nil)
        _ = progress.next()

        progress.checked(problem: "not well")

        #expect(progress.isOver)
        #expect(progress.problem == "not well")
    }

    @Test(arguments: [(0, 1), (1, 2), (2, 3)])
    func `after too many failures what runs ends and nothing begins`(allowed: Int, begun: Int) {
        let names = (0..<10).map { "s\($0)" }
        var progress = FleetProgress(pending: names, parallel: 1, maxFailures: allowed)
        _ = progress.next()
        progress.ended("s0", problem: nil)
        _ = progress.next()
        progress.checked(problem: nil)

        var count = 0
        while case .migrate(let name)? = progress.next().first {
            count += 1
            progress.ended(name, problem: "no")
        }

        #expect(count == begun)
        #expect(progress.isOver)
        #expect(progress.failures == begun)
    }

    @Test func `nothing to do is over at once`() {
        var progress = FleetProgress(pending: [])

        #expect(progress.isOver)
        #expect(progress.next() == [])
    }
}
