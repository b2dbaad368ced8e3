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

    @Test func `a move whose target is lost is given up, and the source opens again`() async throws
    {
        let cluster = try await TestCluster.start(shards: 2, seed: 8)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let watch = MoveWatch(reached: { point, _ in
            if point == .fenced { cluster.servers[1].kill() }
        })
        var once = MoveLimits()
        once.failures = 1
        let mover = Mover(cluster: operations, limits: once, watch: watch)
        let move = try await mover.open(
            Array(topology.slots(of: 1).prefix(50)), from: topology.shards[0],
            to: topology.shards[1], reason: "test")
        let abort = MoveAbort(cluster: operations, move: move, limits: once)
        await #expect(throws: OperationError.self, "a target that answers is not lost") {
            try await abort.runWithoutTarget()
        }
        await #expect(throws: OperationError.self) { try await mover.run(move) }

        try await abort.runWithoutTarget()

        let row = try await cluster.rows(
            shard: 1,
            """
            select count(*) filter (where state = 'active' and barred = \(move.id)),
                (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)
            from shard.slots where slot = any (array[\(move.slots.list)])
            """)[0]
        #expect(try row.get(0, as: Int.self) == 50, "the source owns its slots")
        #expect(try row.get(1, as: Int.self) == 0, "nothing holds its log back")
        #expect(try await MoveJournal(cluster: operations).move(move.id).state == .aborted)
    }

    @Test func `routers learn of the new owner although the source is away`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 9)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let watch = MoveWatch(reached: { point, _ in
            if point == .activated { cluster.servers[0].kill() }
        })
        let slots = Array(topology.slots(of: 1).prefix(50))
        let mover = Mover(cluster: operations, limits: MoveLimits(), watch: watch)

        async let moving = mover.move(
            slots, from: topology.shards[0], to: topology.shards[1], reason: "test")
        let limit = ContinuousClock.now + .seconds(60)
        while try await operations.topology().owners[slots[0]] != ShardID(2) {
            try #require(ContinuousClock.now < limit, "the catalog has the new owner")
            try await Task.sleep(for: .milliseconds(20))
        }
        try cluster.servers[0].start()

        #expect(try await moving.state == .done)
        try await cluster.expectNothingLeft()
    }

    private struct CutOff: Error {}
}

extension Sequence where Element: BinaryInteger {
    fileprivate var list: String { map { "\($0)" }.joined(separator: ",") }
}
