import Postgres
import ShardOperations
import ShardRouter
import TestKit
import Testing

@Suite struct ShardChangesTests {
    private func refusal(
        _ work: () async throws -> ShardChanges.Outcome
    ) async -> OperationError? {
        await #expect(throws: OperationError.self) { _ = try await work() }
    }

    @Test func `a weight is changed, and the last one is kept`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let changes = ShardChanges(cluster: try databases.cluster())

        #expect(try await changes.setWeight("one", to: 3).shard.weight == 3)
        #expect(try await changes.setWeight("two", to: 0).shard.weight == 0)
        #expect(await refusal { try await changes.setWeight("one", to: 0) }?.kind == .refused)
        #expect(await refusal { try await changes.setWeight("one", to: -1) }?.kind == .refused)
        #expect(await refusal { try await changes.setWeight("six", to: 1) }?.kind == .refused)
        #expect(
            await refusal { try await changes.drain("one", isUndoing: false) }?.kind == .refused)
    }

    @Test func `draining can be undone, and spares the last active shard`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let changes = ShardChanges(cluster: try databases.cluster())
        _ = try await SlotPins(cluster: try databases.cluster())
            .pin(Slot(5), to: "one", reason: "test")

        let drained = try await changes.drain("one", isUndoing: false)
        #expect(drained.shard.state == .draining)
        #expect(drained.slots == 8_192)
        #expect(drained.warnings.first?.hasPrefix("1 slots are pinned") == true)
        #expect(try await changes.drain("one", isUndoing: false).shard.state == .draining)
        let failure = await refusal { try await changes.drain("two", isUndoing: false) }
        #expect(failure?.description.contains("last active") == true)
        #expect(try await changes.drain("one", isUndoing: true).shard.state == .active)
        #expect(try await changes.drain("two", isUndoing: false).shard.state == .draining)
    }

    @Test func `a shard is removed only when nothing holds it`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let changes = ShardChanges(cluster: try databases.cluster())
        func reason() async -> String {
            await refusal {
                try await changes.remove("one", isConfirmed: true, isLost: false)
            }?.description ?? ""
        }

        #expect(await reason().contains("owns 8192 slots"))
        try await databases.script("catalog", "update catalog.slots set shard_id = 2")
        #expect(await reason().contains("own table of shard one says that it holds 8192"))
        try await databases.script("one", "update shard.slots set state = 'moved', moved_to = 2")
        try await databases.script(
            "catalog",
            """
            insert into catalog.pins values (5, 1, 'test');
            select catalog.open_move(2, 1, array[5], 'test', null, null, 1, 2)
            """)
        #expect(await reason().contains("1 open moves"))
        try await databases.script("catalog", "select catalog.close_move(1, 'aborted', null, null)")
        #expect(await reason().contains("1 slots are pinned"))
        try await databases.script(
            "catalog",
            """
            delete from catalog.pins;
            insert into catalog.moves (source_id, target_id, slots, epochs, state, reason)
            values (1, 2, '{5}', '{1}', 'done', 'test')
            """)
        let unconfirmed = await refusal {
            try await changes.remove("one", isConfirmed: false, isLost: false)
        }
        #expect(unconfirmed?.description.contains("1 old copies") == true)
        #expect(unconfirmed?.next.hasPrefix("shardctl shard remove one --yes") == true)

        let removed = try await changes.remove("one", isConfirmed: true, isLost: false)

        #expect(removed.shard.state == .retired)
        #expect(removed.warnings == ["1 old copies stay in its database"])
        let failure = await refusal {
            try await changes.remove("two", isConfirmed: true, isLost: false)
        }
        #expect(failure?.description.contains("last active") == true)
    }

    @Test func `a shard whose server is gone is removed on demand`() async throws {
        let (server, other) = (try PostgresServer.start(), try PostgresServer.start())
        let databases = try await Databases.make(on: server, shards: ["one"])
        try await databases.add("one")
        try await databases.script("one", "insert into rooms values ('lobby')")
        try await databases.add(
            "two", endpoint: "host=127.0.0.1 port=\(other.port) dbname=postgres")
        other.kill()
        let changes = ShardChanges(cluster: try databases.cluster())

        let failure = await refusal {
            try await changes.remove("two", isConfirmed: true, isLost: false)
        }
        #expect(failure?.kind == .failed)
        #expect(failure?.next.contains("shardctl shard remove two --lost --yes") == true)

        let removed = try await changes.remove("two", isConfirmed: true, isLost: true)

        #expect(removed.shard.state == .retired)
        #expect(try await databases.cluster().status().shards.allSatisfy { $0.problem == nil })
    }

    @Test func `an address is taken over only from the same shard, and without secrets`()
        async throws
    {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let changes = ShardChanges(cluster: try databases.cluster())

        for (endpoint, reason) in [
            ("host=h password=y", "password"), (databases.endpoint("two"), "this endpoint"),
            (databases.endpoint("two") + " connect_timeout=3", "another database"),
            (databases.endpoint("absent"), "out of reach"),
        ] {
            let failure = await refusal { try await changes.setEndpoint("one", to: endpoint) }
            #expect(
                failure?.description.contains(reason) == true, "\(String(describing: failure))")
        }
        let new = databases.endpoint("one").replacing("127.0.0.1", with: "localhost")
        #expect(try await changes.setEndpoint("one", to: new).shard.endpoint == new)
        #expect(try await databases.cluster().status().shards.allSatisfy { $0.problem == nil })
    }

    @Test func `an address is refused while it leads to a copy`() async throws {
        let primary = try PostgresServer.start()
        let catalog = try PostgresServer.start()
        let databases = try await Databases.make(on: catalog, shards: [])
        try await databases.add(
            "one", endpoint: "host=127.0.0.1 port=\(primary.port) dbname=postgres")
        let standby = try PostgresServer.start(asStandbyOf: primary)
        let endpoint = "host=127.0.0.1 port=\(standby.port) dbname=postgres"
        let changes = ShardChanges(cluster: try databases.cluster())

        let asStandby = await refusal { try await changes.setEndpoint("one", to: endpoint) }
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(standby.connectionString()), deadline: .now + .seconds(20))
        defer { connection.close() }
        _ = try await connection.query("select pg_promote()", deadline: .now + .seconds(60))
        let asSecond = await refusal { try await changes.setEndpoint("one", to: endpoint) }
        primary.kill()
        for sql in ["alter system reset synchronous_standby_names", "select pg_reload_conf()"] {
            _ = try await connection.query(sql, deadline: .now + .seconds(20))
        }
        let taken = try await changes.setEndpoint("one", to: endpoint)

        #expect(asStandby?.description.contains("is a standby") == true)
        #expect(asSecond?.description.contains("still takes writes") == true)
        #expect(taken.shard.endpoint == endpoint)
    }

    @Test func `a database that lags behind the catalog is no new address`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one"])
        try await databases.script("one", "update shard.slots set state = 'none' where slot = 5")
        let new = databases.endpoint("one").replacing("127.0.0.1", with: "localhost")

        let failure = await refusal {
            try await ShardChanges(cluster: try databases.cluster()).setEndpoint("one", to: new)
        }

        #expect(failure?.description.contains("looks like an old copy") == true)
    }
}
