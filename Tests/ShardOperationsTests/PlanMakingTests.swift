import Foundation
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct PlanMakingTests {
    /// Shards one and two with 200 rooms, and an empty database.
    private func databases(on server: PostgresServer) async throws -> Databases {
        let databases = try await Databases.make(on: server, shards: ["one", "two", "three"])
        for name in ["one", "two"] {
            _ = try await ShardAdding(
                cluster: try databases.cluster(), name: name, endpoint: databases.endpoint(name),
                weight: 1
            ).run()
        }
        for name in ["one", "two"] {
            try await databases.script(
                name,
                """
                insert into rooms (room_id, head)
                select 'room-' || n, 10 from generate_series(1, 200) n
                where (select state from shard.slots
                    where slot = shard.slot_of('room-' || n)) = 'active';
                insert into messages
                select room_id, seq, gen_random_uuid(), 'ada', now(), now(), repeat('x', 100)
                from rooms, generate_series(1, 10) seq;
                """)
        }
        return databases
    }

    private func make(
        _ databases: Databases, _ changes: PlanChanges, by balance: Balance = .slots
    ) async throws -> PlanMaking.Outcome {
        try await PlanMaking(
            cluster: try databases.cluster(),
            wishes: PlanWishes(changes: changes, balance: balance)
        ).run()
    }

    private func addThree(_ databases: Databases, weight: Int = 1) -> PlanChanges {
        PlanChanges(add: [
            .init(name: "three", endpoint: databases.endpoint("three"), weight: weight)
        ])
    }

    @Test func `a plan is saved as it was made, and nothing else happens`() async throws {
        let databases = try await databases(on: try PostgresServer.start())
        let cluster = try databases.cluster()
        let before = try await cluster.topology()

        let outcome = try await make(databases, addThree(databases, weight: 2), by: .bytes)

        let plan = try #require(outcome.plan)
        #expect(outcome.warnings.isEmpty)
        #expect(plan.epoch == before.epoch)
        #expect(plan.moves.allSatisfy { $0.target == "three" })
        #expect(outcome.shares.reduce(0) { $0 + $1.before.rows } == 2_200)
        #expect(outcome.shares[2].before.slots == 0)
        #expect(outcome.shares[2].after.rows == plan.moves.reduce(0) { $0 + $1.rows })
        let bytes = outcome.shares.map { Double($0.after.bytes) }
        #expect(abs(bytes[2] / bytes.reduce(0, +) - 0.5) < 0.02)
        let loaded = try await cluster.withCatalog { try await PlanStore.load(plan.id, from: $0) }
        #expect(loaded == plan)
        let listed = try await cluster.withCatalog { try await PlanStore.list(from: $0) }
        #expect(listed.map(\.id) == [plan.id])
        #expect(listed.first?.slots == outcome.shares[2].after.slots)
        #expect(try await cluster.topology() == before)
    }

    @Test func `rows that a shard does not own are nobody's load`() async throws {
        let databases = try await databases(on: try PostgresServer.start())
        let cluster = try databases.cluster()
        let topology = try await cluster.topology()
        let reader = LoadReader(cluster: cluster, topology: topology)
        let before = await reader.read(withRate: false)
        // What a purge would not have reached yet: rooms of shard two, still stored on one.
        try await databases.script(
            "one",
            """
            insert into rooms (room_id, head)
            select 'room-' || n, 10 from generate_series(1, 200) n on conflict do nothing
            """)

        let reading = await reader.read(withRate: false)

        #expect(reading.problems.isEmpty)
        #expect(reading.loads == before.loads)
        #expect(reading.loads.rows.reduce(0, +) == 2_200)
        let slot = topology.ringHash.slot(of: RoomID("room-1")).number
        #expect(reading.loads.rows[slot] >= 11)
        #expect(reading.loads.bytes[slot] > 10 * 100)
    }

    @Test func `the rate is what the rooms' counters grow by`() async throws {
        let databases = try await databases(on: try PostgresServer.start())
        let topology = try await databases.cluster().topology()
        var reader = LoadReader(cluster: try databases.cluster(), topology: topology)
        reader.pause = {
            for name in ["one", "two"] {
                try await databases.script(
                    name, "update rooms set head = head + 1000 where room_id = 'room-7'")
            }
        }

        let rate = await reader.read(withRate: true).loads.rate

        let slot = topology.ringHash.slot(of: RoomID("room-7")).number
        #expect(rate[slot] > 0)
        #expect(rate.indices.allSatisfy { $0 == slot || rate[$0] == 0 })
    }

    @Test func `a shard that is away is planned by slots with a warning, else not`() async throws {
        let databases = try await databases(on: try PostgresServer.start())
        try await databases.script(
            "catalog", "update catalog.shards set endpoint = 'host=127.0.0.1 port=1' where id = 2")

        let outcome = try await make(databases, addThree(databases))
        let failure = await #expect(throws: OperationError.self) {
            try await make(databases, addThree(databases), by: .rows)
        }

        #expect(outcome.plan?.moves.reduce(0) { $0 + $1.slots.count } == Slot.count / 3)
        #expect(outcome.warnings.contains { $0.contains("two") && $0.contains("did not answer") })
        #expect(failure?.kind == .failed)
        #expect(failure?.next.contains("--by slots") == true)
    }

    @Test func `pins are kept, and slots in open moves are where these bring them`() async throws {
        let databases = try await databases(on: try PostgresServer.start())
        try await databases.script(
            "catalog",
            """
            insert into catalog.pins (slot, shard_id, reason) values (3, 2, 'hot');
            select catalog.open_move(1, 2, array[0, 1, 2], 'test', null, null, 1, 2);
            """)

        let outcome = try await make(databases, PlanChanges())

        let moves = try #require(outcome.plan).moves
        #expect(moves.contains { $0.target == "two" && $0.slots == [3] })
        #expect(moves.allSatisfy { Set($0.slots).isDisjoint(with: [0, 1, 2]) })
        #expect(outcome.shares.map(\.after.slots) == [8_192, 8_192])
        #expect(outcome.warnings.contains { $0.contains("3 slots are in open moves") })
        let failure = await #expect(throws: OperationError.self) {
            try await make(databases, PlanChanges(drain: ["two"]))
        }
        #expect(failure?.next == "shardctl slot unpin 3")
    }

    @Test func `what makes no sense is refused, and no plan is saved`() async throws {
        let databases = try await databases(on: try PostgresServer.start())
        let free = databases.endpoint("three")

        for (changes, reason) in [
            (PlanChanges(drain: ["four"]), "no shard 'four'"),
            (PlanChanges(weights: ["four": 2]), "no shard 'four'"),
            (PlanChanges(weights: ["one": -1]), "outside"),
            (PlanChanges(drain: ["one", "two"]), "no shard with a weight"),
            (PlanChanges(drain: ["one"], weights: ["one": 2]), "drained"),
            (PlanChanges(add: [.init(name: "one", endpoint: free)]), "already"),
            (
                PlanChanges(add: [.init(name: "new", endpoint: databases.endpoint("two"))]),
                "endpoint"
            ),
            (PlanChanges(add: [.init(name: "new", endpoint: free + " password=x")]), "password"),
            (PlanChanges(add: [.init(name: "Bad", endpoint: free)]), "no name"),
            (PlanChanges(add: [.init(name: "new", endpoint: free, weight: -1)]), "weight"),
        ] {
            let failure = await #expect(throws: OperationError.self, "\(reason)") {
                try await make(databases, changes)
            }
            #expect(failure?.kind == .refused, "\(reason)")
            #expect(failure?.description.contains(reason) == true, "\(reason)")
            #expect(failure?.next.isEmpty == false)
        }
        #expect(
            try await databases.cluster().withCatalog { try await PlanStore.list(from: $0) }
                .isEmpty)
    }

    @Test func `shardctl plans, lists and shows`() async throws {
        let server = try PostgresServer.start()
        let databases = try await databases(on: server)
        let shardctl = Shardctl(
            catalog: server.connectionString(database: "\(databases.prefix)_catalog"))

        let balanced = try await shardctl.run("plan")
        #expect(balanced.code == 0)
        #expect(balanced.json["plan"] is NSNull)
        #expect(try await shardctl.runPlainly(["plan"]).text.contains("balanced"))

        let made = try await shardctl.run(
            "plan", "--add", "three:" + databases.endpoint("three"), "--weight", "three=2")
        #expect(made.code == 0)
        #expect(Set(made.json.keys) == ["plan", "moves", "warnings", "shares", "seconds"])
        let id = try #require(made.json["plan"] as? Int)
        let moves = try #require(made.json["moves"] as? [[String: Any]])
        #expect(moves.reduce(0) { $0 + ($1["slots"] as? Int ?? 0) } == Slot.count / 2)
        #expect(
            Set(moves[0].keys) == ["place", "source", "target", "slots", "rows", "bytes", "move"])
        let shares = try #require(made.json["shares"] as? [[String: Any]])
        #expect(shares.map { $0["name"] as? String } == ["one", "two", "three"])

        let text = try await shardctl.runPlainly(["plan", "--drain", "one", "--by", "rows"]).text
        #expect(text.hasSuffix("next: shardctl rebalance \(id + 1)\n"))
        let list = try await shardctl.run("plan", "list")
        #expect((list.json["plans"] as? [Any])?.count == 2)
        let shown = try await shardctl.run("plan", "show", "\(id)")
        #expect(shown.json["state"] as? String == "saved")
        #expect((shown.json["moves"] as? [Any])?.count == moves.count)
        #expect(try await shardctl.run("plan", "show", "99").code == 2)
        #expect(try await shardctl.run("plan", "--by", "luck").code == 64)
        #expect(try await shardctl.run("plan", "--add", "three").code == 64)
    }

    @Test func `shardctl simulates without a cluster`() async throws {
        let shardctl = Shardctl(catalog: "host=127.0.0.1 port=1 dbname=none")

        let answer = try await shardctl.run(
            "ring", "simulate", "--shards", "3", "--rooms", "2000", "--zipf", "1", "--add", "1")

        #expect(answer.code == 0)
        let results = try #require(answer.json["results"] as? [[String: Any]])
        #expect(results.map { $0["by"] as? String } == ["slots", "bytes"])
        #expect(try await shardctl.run("ring", "simulate", "--shards", "0").code == 2)
    }
}
