import Foundation
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct DriftCheckTests {
    @Test func `a fresh fleet has not drifted, and the second look reads no schema`()
        async throws
    {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["a", "b"])
        let check = DriftCheck(cluster: try databases.cluster())

        let first = try await check.run()
        let second = try await check.run()
        let seen: Int = try await databases.value(
            "catalog", "select count(*) from catalog.schema_references where key like 'seen %'")

        #expect(first.map(\.name) == ["catalog", "a", "b"])
        #expect(first.allSatisfy { $0.isAsWanted && $0.pending.isEmpty })
        #expect(second == first)
        #expect(seen == 3)
    }

    @Test func `each database is compared with what it has, and answers for itself`() async throws {
        let databases = try await Databases.fleet(
            on: try PostgresServer.start(), ["a", "b", "c", "d"])
        var check = DriftCheck(cluster: try databases.cluster())
        check.parallel = 2
        _ = try await check.run()
        let last = try databases.cluster().migrator(.shard).migrations.last?.version ?? 0
        try await databases.script("a", "create index spare on public.messages (author)")
        try await databases.script(
            "b", try down(last) + "delete from shard.migrations where version = \(last)")
        try await databases.script("c", "update shard.identity set shard_id = 77")
        try await databases.script(
            "d",
            "insert into shard.migrations (version, title, checksum, duration_ms) "
                + "values (900, 'newer', 'x', 0)")
        try await databases.script("catalog", "drop index catalog.moves_by_plan")

        let found = try await check.run()

        #expect(found.map(\.name) == ["catalog", "a", "b", "c", "d"])
        #expect(
            found.map { $0.differences.map(\.object.description) } == [
                ["index catalog.moves_by_plan"], ["index public.spare"], [], [], [],
            ])
        #expect(found.map(\.pending) == [[], [], [last], [], []])
        #expect(found[3].problem?.contains("shard number 77 of this cluster") == true)
        #expect(found[4].problem?.contains("not in the files") == true)
        #expect(found[4].history.map(\.change) == [.extra])
        #expect(found.map(\.isAsWanted) == [false, false, true, false, false])
    }

    @Test func `a shard can be compared with another one, and one that is away does not matter`()
        async throws
    {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["a", "b", "c"])
        try await databases.script("b", "alter table public.rooms alter column head drop default")
        try await databases.script(
            "catalog",
            "update catalog.shards set endpoint = 'host=127.0.0.1 port=1 dbname=x' "
                + "where name = 'c'")
        let connection = try await databases.connect("a")
        defer { connection.close() }
        var check = DriftCheck(cluster: try databases.cluster())
        check.shardReference = try await SchemaSnapshot.read(
            connection, deadline: .now + .seconds(20))

        let found = try await check.run()
        let references: Int = try await databases.value(
            "catalog", "select count(*) from catalog.schema_references where key like 'shard %'")

        #expect(found[2].differences.map(\.object.description) == ["default public.rooms.head"])
        #expect(found[3].problem?.contains("cannot connect") == true)
        #expect(found[1].isAsWanted)
        #expect(references == 0)
    }

    @Test func `a thorough look does not trust what was seen before`() async throws {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["a"])
        var check = DriftCheck(cluster: try databases.cluster())
        _ = try await check.run()
        try await databases.script("a", "alter table public.rooms alter column head drop default")
        let connection = try await databases.connect("a")
        defer { connection.close() }
        let state = try await SchemaSight.read(
            .shard, connection, deadline: .now + .seconds(20)
        ).state
        try await databases.script(
            "catalog",
            "update catalog.schema_references set snapshot = '\(state) ' "
                + "|| split_part(snapshot, ' ', 2) where key like 'seen % shard a'")

        let quick = try await check.run()
        check.isThorough = true
        let thorough = try await check.run()

        #expect(quick[1].differences.isEmpty)
        #expect(thorough[1].differences.map(\.object.description) == ["default public.rooms.head"])
    }

    private func down(_ version: Int) throws -> String {
        let folder = Databases.migrations.appending(path: "shard")
        let digits = String(version)
        let prefix = String(repeating: "0", count: 4 - digits.count) + digits
        let name = try FileManager.default.contentsOfDirectory(atPath: folder.path())
            .first { $0.hasPrefix(prefix) && $0.hasSuffix(".down.sql") }
        return try String(contentsOf: folder.appending(path: try #require(name)), encoding: .utf8)
    }
}
