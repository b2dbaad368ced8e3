import ShardRouter
import Testing

@testable import ShardOperations

@Suite struct RingSimulationTests {
    @Test func `equal slots are not equal load, and a plan by load makes it so`() throws {
        let outcome = try RingSimulation(shards: 8, rooms: 20_000, zipf: 1, add: 1).run()

        #expect(outcome.maxOverMean > 1.1)
        let (slots, bytes) = (outcome.results[0], outcome.results[1])
        #expect(slots.balance == .slots && bytes.balance == .bytes)
        #expect(slots.maxOverMean > 1.1)
        #expect(bytes.maxOverMean <= 1.02)
        #expect(slots.slots == Slot.count / 9)
        #expect(slots.movedShare == slots.leastShare)
        #expect(bytes.movedShare <= 1.05 * bytes.leastShare)
    }

    @Test(arguments: Balance.allCases)
    func `rooms of equal load need no more than the new shards' part`(balance: Balance) throws {
        let outcome = try RingSimulation(shards: 3, rooms: 20_000, zipf: 0, add: 1)
            .run(by: [balance])

        let result = try #require(outcome.results.first)
        #expect(abs(result.movedShare - 0.25) < 0.02)
        #expect(result.maxOverMean < 1.05)
        #expect(result.warnings.isEmpty)
    }

    @Test func `the same seed gives the same answer, another seed another`() throws {
        let simulation = RingSimulation(shards: 4, rooms: 2_000, zipf: 1, add: 2, seed: 5)
        var other = simulation
        other.seed = 6

        #expect(try simulation.run() == simulation.run())
        #expect(try simulation.run() != other.run())
    }

    @Test func `rooms larger than a share are a warning`() throws {
        let outcome = try RingSimulation(shards: 50, rooms: 2_000, zipf: 1.5, add: 0)
            .run(by: [.bytes])

        #expect(outcome.results[0].warnings.first?.contains("room isolate") == true)
    }

    @Test(arguments: [(0, 1, 1.0), (3, 0, 1), (3, 1, -1), (16_385, 1, 1), (3, 1, .infinity)])
    func `numbers that make no ring are refused`(shards: Int, rooms: Int, zipf: Double) {
        let failure = #expect(throws: OperationError.self) {
            try RingSimulation(shards: shards, rooms: rooms, zipf: zipf, add: 1).run()
        }

        #expect(failure?.kind == .refused)
    }
}
