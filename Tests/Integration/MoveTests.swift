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
        limits.staleFence = .seconds(2)
        let watch = MoveWatch(reached: { point, _ in if point == .compared { throw CutOff() } })
        var once = MoveLimits()
        once.failures = 1
        let mover = Mover(cluster: operations, limits: once, watch: watch)

        try await Traffic.run(on: cluster, limits: limits) { traffic in
            try await traffic.progress(1)
            let move = try await mover.open(
                topology.slots(of: 1), from: topology.shards[0], to: topology.shards[1],
                reason: "test")
            await #expect(throws: OperationError.self) { try await mover.run(move) }
            // What a runner does last that dies behind its fence.
            _ = try await cluster.rows(
                shard: 1,
                """
                select shard.move_fence(\(move.id), array[\(move.slots.list)],
                    array[\(move.epochs.list)]::bigint[], 0, 2)
                """)
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

    @Test func `a catalog that is away for a moment stops no move`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 3)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let watch = MoveWatch(reached: { point, _ in
            guard [.imported, .activated].contains(point) else { return }
            cluster.catalog.kill()
            try cluster.catalog.start()
        })

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            let move = try await Mover(cluster: operations, limits: MoveLimits(), watch: watch)
                .move(
                    Array(topology.slots(of: 1).prefix(100)), from: topology.shards[0],
                    to: topology.shards[1], reason: "test")
            #expect(move.state == .done)
        }

        try await cluster.expectNothingLeft()
    }

    private struct CutOff: Error {}
}

extension Sequence where Element: BinaryInteger {
    fileprivate var list: String { map { "\($0)" }.joined(separator: ",") }
}
