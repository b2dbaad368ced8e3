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

    @Test func `rooms stored after a cut-off that had taken nothing stay where they are`()
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

        #expect(try await adding(databases, "two").run().slots == 0)

        try await expectWhole(cluster, ["one": Slot.count, "two": 0])
    }

    @Test func `while a move is open a new shard claims nothing`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two", "three"])
        let cluster = try databases.cluster()
        _ = try await adding(databases, "one").run()
        _ = try await adding(databases, "two").run()
        try await databases.script(
            "catalog", "select catalog.open_move(1, 2, array[5], 'test', null, null, 1, 2)")

        #expect(try await adding(databases, "three").run().slots == 0)

        try await expectWhole(cluster, ["one": 8_192, "two": 8_192, "three": 0])
    }

    @Test func `what was let go before a cut-off gets its owner though moves went on meanwhile`()
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
        // A move of a slot that was not let go ends, and another one is open.
        let row = try await databases.connect("one").query(
            "select min(slot) from shard.slots where state = 'active'",
            deadline: .now + .seconds(20))[0]
        let slot: Int = try row.get(0)
        try await databases.script(
            "catalog",
            """
            select catalog.open_move(1, 2, array[\(slot)], 'test', null, null, 1, 2);
            select catalog.publish_move(1); select catalog.close_move(1, 'done', null, '1 hour');
            select catalog.open_move(1, 2, array[\(slot + 1)], 'test', null, null, 1, 2)
            """)
        try await databases.script(
            "one",
            "update shard.slots set state = 'moved', moved_to = 2, epoch = 2 where slot = \(slot)")
        try await databases.script(
            "two", "update shard.slots set state = 'active', epoch = 2 where slot = \(slot)")

        let taken = try await adding(databases, "three").run().slots

        #expect(taken > 0)
        let counts = try await cluster.topology().slotCounts.values
        try await expectWhole(
            cluster, ["one": 8_191 - taken, "two": 8_193, "three": taken])
        #expect(counts.reduce(0, +) == Slot.count)
    }

    @Test func `with rooms stored a server that cannot take part in moves is refused`()
        async throws
    {
        let server = try PostgresServer.start()
        let other = try PostgresServer.start(settings: ["wal_level": "replica"])
        let databases = try await Databases.make(on: server, shards: ["one"])
        _ = try await adding(databases, "one").run()
        try await databases.script("one", "insert into rooms values ('lobby', 0)")
        let endpoint = "host=127.0.0.1 port=\(other.port) dbname=postgres"

        let failure = await #expect(throws: OperationError.self) {
            try await adding(databases, "two", endpoint: endpoint).run()
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains("wal_level is replica") == true)
        #expect(failure?.next.contains("alter system set wal_level = 'logical'") == true)
        #expect(try await databases.cluster().topology().shards.count == 1)
    }

    @Test func `a new shard gets the schema of the others, not that of newer files`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "migrations-\(UUID().uuidString)")
        try FileManager.default.copyItem(at: Databases.migrations, to: folder)
        defer { try? FileManager.default.removeItem(at: folder) }
        _ = try await adding(databases, "one").run()
        _ = try MigrationFiles(folder: folder.appending(path: "shard")).create(title: "later")
        try MigrationFiles(folder: folder.appending(path: "shard")).writeSums()
        let newer = Cluster(catalog: try databases.cluster().catalog, migrations: folder)

        _ = try await ShardAdding(
            cluster: newer, name: "two", endpoint: databases.endpoint("two"), weight: 1
        ).run()

        let versions = try await newer.status().shards.map(\.schemaVersion)
        #expect(versions[0] == versions[1])
        try await databases.script("two", "delete from shard.migrations where version > 1")
        let failure = await #expect(throws: OperationError.self) {
            try await ShardAdding(
                cluster: newer, name: "three", endpoint: databases.endpoint("three"), weight: 1
            ).run()
        }
        #expect(failure?.next == "shardctl migrate up")
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
