import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

@testable import ShardOperations

/// What operators do to moves, in a hurry.
@Suite struct MoveOperatorTests {
    @Test func `a move that an operator has aborted is not made anew`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 3)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let journal = MoveJournal(cluster: operations)
        let watch = MoveWatch(reached: { point, move in
            guard point == .compared else { return }
            try await MoveAbort(cluster: operations, move: move, limits: MoveLimits())
                .run(because: MoveAbort.byOperator)
        })

        await #expect(throws: OperationError.self) {
            try await Mover(cluster: operations, limits: MoveLimits(), watch: watch).move(
                [topology.slots(of: 1)[0]], from: topology.shards[0], to: topology.shards[1],
                reason: "test")
        }

        #expect(try await journal.latest(10).map(\.state) == [.aborted])
        try await cluster.expectNothingLeft()
    }

    @Test func `an operator's abort that was cut off is finished, and the move not made anew`()
        async throws
    {
        struct CutOff: Error {}
        let cluster = try await TestCluster.start(shards: 2, seed: 4)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let mover = Mover(cluster: operations, limits: MoveLimits())
        let move = try await mover.open(
            [topology.slots(of: 1)[0]], from: topology.shards[0], to: topology.shards[1],
            reason: "test")
        let watch = MoveWatch(reached: { point, _ in if point == .barred { throw CutOff() } })
        await #expect(throws: CutOff.self) {
            try await MoveAbort(
                cluster: operations, move: move, limits: MoveLimits(), watch: watch
            ).run(because: MoveAbort.byOperator)
        }

        await #expect(throws: OperationError.self) { try await mover.resume(move.id) }

        let moves = try await MoveJournal(cluster: operations).latest(10)
        #expect(moves.map(\.state) == [.aborted])
        #expect(moves.map(\.note) == [MoveAbort.byOperator])
        try await cluster.expectNothingLeft()
    }

    @Test func `a move whose slots have left since is not reversed`() async throws {
        let cluster = try await TestCluster.start(shards: 3, seed: 5)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let slots = [topology.slots(of: 1)[0]]
        let mover = Mover(cluster: operations, limits: MoveLimits())
        let first = try await mover.move(
            slots, from: topology.shards[0], to: topology.shards[1], reason: "test")
        _ = try await mover.move(
            slots, from: topology.shards[1], to: topology.shards[2], reason: "test")

        let refusal = await #expect(throws: OperationError.self) {
            try await mover.reverse(first.id)
        }

        #expect(refusal?.description.contains("have left shard-2") == true)
    }

    @Test func `a room that nobody has made is not isolated`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 6)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let target = try await operations.topology().shards[1].name
        let isolation = RoomIsolation(
            cluster: operations, room: RoomID("lobbyy"), target: target, limits: MoveLimits(),
            onEvent: { _ in })

        let refusal = await #expect(throws: OperationError.self) { try await isolation.run() }

        #expect(refusal?.kind == .refused)
        let pins = try await operations.withCatalog {
            try await $0.query("select 1 from catalog.pins", deadline: .now + .seconds(10)).count
        }
        #expect(pins == 0)
    }

    /// The statement of the last mark ends although it was cancelled: its outcome is not told, its
    /// connection lives.
    @Test func `a fence whose last statement comes late is lifted at once`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 7)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()
        let source = try await cluster.operatorConnection(shard: 1)
        defer { source.close() }
        try await source.script(
            """
            create sequence public.fences;
            create function public.be_late() returns trigger language plpgsql as $$
            begin
                if exists (select from shard.slots where state = 'fenced') then
                    if nextval('public.fences') = 1 then
                        begin
                            perform pg_sleep(60);
                        exception when query_canceled then null;
                        end;
                    end if;
                end if;
                return new;
            end $$;
            create trigger be_late before insert or update on shard.move_marks
            for each row execute function public.be_late()
            """, deadline: .now + .seconds(10))
        let notes = Mutex<[String]>([])

        let move = try await Mover(cluster: operations, limits: MoveLimits()) { event in
            if let note = event.note { notes.withLock { $0.append(note) } }
        }.move(
            [topology.slots(of: 1)[0]], from: topology.shards[0], to: topology.shards[1],
            reason: "test")

        #expect(move.lifts >= 1)
        #expect(notes.withLock { $0 }.allSatisfy { !$0.contains("trying again") })
        try await cluster.expectNothingLeft()
    }
}
