import FoundationEssentials
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

/// Plans that are carried out between real servers, while callers write.
@Suite struct RebalanceTests {
    private func rebalance(
        _ cluster: Cluster, _ moveLimits: MoveLimits = MoveLimits()
    ) -> Rebalance {
        var limits = RebalanceLimits()
        (limits.parallel, limits.perSource, limits.perTarget) = (4, 2, 2)
        return Rebalance(cluster: cluster, limits: limits, moveLimits: moveLimits) { _ in }
    }

    /// Saves a plan of moves of shard 1's slots, in parts that go to the two others in turn.
    private func plan(_ cluster: Cluster, parts: Int) async throws -> Plan {
        let topology = try await cluster.topology()
        let slots = topology.slots(of: 1)
        let moves = (0..<parts).map { part in
            PlannedMove(
                source: "shard-1", target: part.isMultiple(of: 2) ? "shard-2" : "shard-3",
                slots: slots.enumerated().filter { $0.offset % parts == part }.map(\.element),
                rows: 0, bytes: 0)
        }
        return try await cluster.withCatalog {
            try await PlanStore.save(
                moves, epoch: topology.epoch, balance: .slots, reason: "test", in: $0)
        }
    }

    @Test func `moves beside each other empty a shard, and a reversal brings everything back`()
        async throws
    {
        let servers = try await TestCluster.start(shards: 3, seed: 4)
        defer { withExtendedLifetime(servers) {} }
        let cluster = try servers.operations()
        let before = try await cluster.topology()
        let plan = try await plan(cluster, parts: 6)

        try await Traffic.run(on: servers, rest: .milliseconds(20)) { traffic in
            try await traffic.progress(1)
            let outcome = try await rebalance(cluster).run(plan: plan.id)
            #expect(outcome.moves.map(\.state) == Array(repeating: .done, count: 6))
            #expect(try await cluster.topology().slotCounts[ShardID(1)] == 0)
            for move in outcome.moves {
                let audit = try await MoveAudit(cluster: cluster, move: move).run()
                #expect(audit.missing == 0)
            }
            await #expect(throws: OperationError.self) {
                try await rebalance(cluster).run(plan: plan.id)
            }

            let back = try await rebalance(cluster).reversal(of: plan.id)
            _ = try await rebalance(cluster).run(plan: back.id)
            #expect(try await cluster.topology().owners == before.owners)
            try await traffic.progress(1)
        }

        try await servers.expectNothingLeft()
        let first = try await MoveClean(cluster: cluster, limits: MoveLimits())
            .run(isImpatient: false)
        #expect(first.purged.isEmpty, "the grace time has not passed")
        let all = try await MoveClean(cluster: cluster, limits: MoveLimits()).run(isImpatient: true)
        #expect(all.waiting.isEmpty && all.problems.isEmpty)
        for number in 1...3 {
            let foreign: Int = try await servers.rows(
                shard: number,
                """
                select count(*) from public.messages m
                join shard.slots s on s.slot = shard.slot_of(m.room_id) where s.state <> 'active'
                """)[0].get(0)
            #expect(foreign == 0, "old copies are gone from shard \(number)")
        }
    }

    @Test func `a plan is refused when the topology or a pin has changed since`() async throws {
        let servers = try await TestCluster.start(shards: 3, seed: 5)
        defer { withExtendedLifetime(servers) {} }
        let cluster = try servers.operations()
        let topology = try await cluster.topology()
        let (one, other) = (try await plan(cluster, parts: 2), try await plan(cluster, parts: 3))
        _ = try await SlotPins(cluster: cluster).pin(
            Slot(topology.slots(of: 2)[0]), to: "shard-2", reason: "test")
        await #expect(throws: OperationError.self) {
            try await rebalance(cluster).run(plan: one.id)
        }
        _ = try await SlotPins(cluster: cluster).unpin(Slot(topology.slots(of: 2)[0]))

        _ = try await rebalance(cluster).run(plan: one.id)

        let refusal = await #expect(throws: OperationError.self) {
            try await rebalance(cluster).run(plan: other.id)
        }
        #expect(refusal?.kind == .refused)
        try await servers.expectNothingLeft()
    }

    @Test func `a move that fails lets the others end, and the same plan goes on`() async throws {
        let servers = try await TestCluster.start(shards: 3, seed: 6)
        defer { withExtendedLifetime(servers) {} }
        let cluster = try servers.operations()
        let plan = try await plan(cluster, parts: 4)
        // Shard 3 cannot take anything while it lacks the application's role.
        let at3 = try await servers.operatorConnection(shard: 3)
        defer { at3.close() }
        try await at3.script("revoke chat_app from chatd", deadline: .now + .seconds(20))

        let refusal = await #expect(throws: OperationError.self) {
            try await rebalance(cluster).run(plan: plan.id)
        }
        #expect(refusal?.description.contains("role chatd") == true)
        try await servers.expectNothingLeft()
        try await at3.script("grant chat_app to chatd", deadline: .now + .seconds(20))
        let outcome = try await rebalance(cluster).run(plan: plan.id)

        #expect(outcome.moves.count { $0.state == .done } == 4)
        #expect(try await cluster.topology().slotCounts[ShardID(1)] == 0)
    }

    @Test func `a hot room is isolated with its pin, and a move is refused during a migration`()
        async throws
    {
        let servers = try await TestCluster.start(shards: 2, seed: 7)
        defer { withExtendedLifetime(servers) {} }
        let cluster = try servers.operations()
        let room = RoomID("hot")
        let owner = try await cluster.locate(room).shard.name
        let target = owner == "shard-1" ? "shard-2" : "shard-1"
        _ = try await servers.rows(
            shard: owner == "shard-1" ? 1 : 2, "insert into public.rooms (room_id) values ('hot')")

        let outcome = try await RoomIsolation(
            cluster: cluster, room: room, target: target, limits: MoveLimits()
        ) { _ in }.run()

        #expect(outcome.move?.state == .done)
        #expect(try await cluster.locate(room).shard.name == target)
        #expect(try await SlotPins(cluster: cluster).list().count == 1)
        let topology = try await cluster.topology()
        let catalog = try await servers.catalogConnection()
        defer { catalog.close() }
        _ = try await catalog.query(
            "select pg_advisory_lock($1)", [MoveJournal.migrationLock],
            deadline: .now + .seconds(20))
        let refusal = await #expect(throws: OperationError.self) {
            try await Mover(cluster: cluster, limits: MoveLimits()).move(
                [topology.slots(of: 1)[0]], from: topology.shards[0], to: topology.shards[1],
                reason: "test")
        }
        #expect(refusal?.description.contains("migration") == true)
    }
}
