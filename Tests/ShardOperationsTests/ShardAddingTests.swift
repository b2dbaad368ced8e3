import Foundation
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct ShardAddingTests {
    private struct CutOff: Error {}

    private func adding(
        _ databases: Databases, _ name: String, weight: Int = 1, endpoint: String? = nil,
        cutOffAfter last: ShardAdding.Step? = nil
    ) throws -> ShardAdding {
        var adding = ShardAdding(
            cluster: try databases.cluster(), name: name,
            endpoint: endpoint ?? databases.endpoint(name), weight: weight)
        adding.reached = { step in
            if step == last { throw CutOff() }
        }
        return adding
    }

    /// Every slot has one owner, and every shard agrees with the catalog.
    private func expectWhole(_ cluster: Cluster, _ counts: [String: Int]) async throws {
        let (topology, shards) = try await cluster.status()
        #expect(topology.owners.count == Slot.count)
        #expect(shards.allSatisfy { $0.problem == nil }, "\(shards.compactMap(\.problem))")
        #expect(
            Dictionary(uniqueKeysWithValues: shards.map { ($0.shard.name, $0.slots) }) == counts)
        #expect(shards.allSatisfy { $0.shard.state == .active })
    }

    @Test func `wherever an addition is cut off, repeating it ends the same`() async throws {
        let server = try PostgresServer.start()
        for step in ShardAdding.Step.allCases where step != .published {
            let databases = try await Databases.make(on: server, shards: ["one", "two", "three"])
            let cluster = try databases.cluster()
            _ = try await adding(databases, "one").run()
            _ = try await adding(databases, "two").run()

            await #expect(throws: CutOff.self, "\(step)") {
                try await adding(databases, "three", weight: 2, cutOffAfter: step).run()
            }
            let interrupted = try await cluster.status()
            #expect(interrupted.shards.map(\.slots) == [8_192, 8_192, 0], "\(step)")
            #expect(interrupted.shards[2].problem != nil, "\(step)")
            let outcome = try await adding(databases, "three", weight: 2).run()

            #expect(outcome.slots == 8_192, "\(step)")
            #expect(outcome.warnings.isEmpty)
            try await expectWhole(cluster, ["one": 4_096, "two": 4_096, "three": 8_192])
            #expect(try await cluster.topology().epoch == Epoch(3))
        }
    }

    @Test func `an addition that is done is refused the second time`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one"])
        await #expect(throws: CutOff.self) {
            try await adding(databases, "one", cutOffAfter: .published).run()
        }

        let failure = await #expect(throws: OperationError.self) {
            try await adding(databases, "one").run()
        }

        #expect(failure?.kind == .refused)
        try await expectWhole(try databases.cluster(), ["one": Slot.count])
    }

    @Test func `rooms stored after a cut-off stay, and what was let go gets its owner`()
        async throws
    {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two", "three"])
        let cluster = try databases.cluster()
        _ = try await adding(databases, "one").run()
        _ = try await adding(databases, "two").run()
        await #expect(throws: CutOff.self) {
            try await adding(databases, "three", cutOffAfter: .oneOwnerLetGo).run()
        }
        // Shard two has not let go; it stores rooms in the slots that it was to give.
        try await databases.script(
            "two",
            """
            insert into rooms select name from (select 'room-' || n from generate_series(1, 200) n)
                as r (name)
            where (select state from shard.slots where slot = shard.slot_of(name)) = 'active'
            """)

        let taken = try await adding(databases, "three").run().slots

        #expect((1..<5_461).contains(taken))
        try await expectWhole(
            cluster, ["one": 8_192 - taken, "two": 8_192, "three": taken])
    }

    @Test func `with rooms stored an addition that has taken nothing yet is refused`()
        async throws
    {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        let cluster = try databases.cluster()
        _ = try await adding(databases, "one").run()
        await #expect(throws: CutOff.self) {
            try await adding(databases, "two", cutOffAfter: .initialised).run()
        }
        try await databases.script(
            "one", "insert into rooms select 'room-' || n from generate_series(1, 50) n")

        let failure = await #expect(throws: OperationError.self) {
            try await adding(databases, "two").run()
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains("holds rooms") ?? false)
        #expect(try await cluster.topology().slotCounts.values.max() == Slot.count)
        #expect(try await cluster.status().shards[0].problem == nil)
    }

    @Test func `a repeated addition keeps the weight that it began with`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one"])
        await #expect(throws: CutOff.self) {
            try await adding(databases, "one", weight: 3, cutOffAfter: .listed).run()
        }

        let failure = await #expect(throws: OperationError.self) {
            try await adding(databases, "one").run()
        }

        #expect(failure?.next == "repeat it with --weight 3")
    }

    @Test func `a server that does not fit is refused with the reason`() async throws {
        let server = try PostgresServer.start(settings: ["wal_level": "replica"])
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        try await databases.script(
            "catalog",
            """
            create database \(databases.prefix)_ascii encoding 'SQL_ASCII' template template0
                lc_collate 'C' lc_ctype 'C'
            """)
        let other = try await Databases.make(on: server, shards: [])
        #expect(
            try await adding(databases, "one").run().warnings.first?.contains("replica") == true)

        for (adding, reason) in [
            (try adding(databases, "ascii"), "SQL_ASCII"),
            (try adding(databases, "absent"), "out of reach"),
            (
                try adding(other, "one", endpoint: databases.endpoint("one")),
                "is a shard of cluster"
            ),
        ] {
            let failure = await #expect(throws: OperationError.self) { try await adding.run() }
            #expect(
                failure?.description.contains(reason) ?? false, "\(String(describing: failure))")
        }
        try await expectWhole(try databases.cluster(), ["one": Slot.count])
        #expect(try await other.cluster().topology().shards.isEmpty)
    }

    @Test func `an endpoint that leads to another shard is noticed`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        let cluster = try databases.cluster()
        _ = try await adding(databases, "one").run()
        _ = try await adding(databases, "two").run()

        try await databases.script(
            "catalog",
            """
            update catalog.shards set endpoint = endpoint || ' ';
            update catalog.shards set endpoint =
                case name when 'one' then '\(databases.endpoint("two"))'
                else '\(databases.endpoint("one"))' end
            """)

        let problems = try await cluster.status().shards.compactMap(\.problem)
        #expect(problems.count == 2)
        #expect(problems.allSatisfy { $0.contains("leads to another database") })
        await #expect(throws: OperationError.self) { try await cluster.locate(RoomID("lobby")) }
    }
}
