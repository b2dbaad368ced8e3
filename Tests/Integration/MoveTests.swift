import FoundationEssentials
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

/// Moves between real servers, while callers write.
@Suite struct MoveTests {
    @Test func `slots move while callers write, and nothing is lost or doubled`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 1)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            let move = try await Mover(cluster: operations, limits: MoveLimits()).move(
                topology.slots(of: 1), from: topology.shards[0], to: topology.shards[1],
                reason: "test")
            #expect(move.state == .done)
            try await traffic.progress(2)
        }

        try await cluster.expectNothingLeft()
        #expect(try await operations.topology().slotCounts[ShardID(1)] == 0)
    }

    @Test func `routers lift the fence of a runner that died behind it`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 2)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        var limits = RouterLimits()
        limits.staleFence = .milliseconds(500)
        let watch = MoveWatch(reached: { point, _ in if point == .marked { throw Killed() } })
        let mover = Mover(cluster: operations, limits: MoveLimits(), watch: watch)

        try await Traffic.run(on: cluster, limits: limits) { traffic in
            try await traffic.progress(1)
            let move = try await mover.open(
                topology.slots(of: 1), from: topology.shards[0], to: topology.shards[1],
                reason: "test")
            await #expect(throws: Killed.self) { try await mover.run(move) }
            try await traffic.progress(1)
            let states = try await cluster.rows(
                shard: 1, "select count(*) from shard.slots where state = 'fenced'")
            #expect(try states[0].get(0, as: Int.self) == 0)

            let done = try await Mover(cluster: operations, limits: MoveLimits()).resume(move.id)
            #expect(done.state == .done)
            try await traffic.progress(2)
        }

        try await cluster.expectNothingLeft()
    }

    /// A runner that is killed.
    private struct Killed: Error, Equatable {}
}
