import ShardOperations
import TestKit
import Testing

@Suite struct MigrationDownTests {
    private static let notes = """
        create table public.notes (room_id text collate "C" primary key);
        select shard.register_table('public.notes');
        """

    private func make(down: String) async throws -> (Databases, MigrationCopy, Cluster) {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["one", "two"])
        let copy = try MigrationCopy()
        try copy.add("1001_notes", Self.notes, down: down)
        let cluster = try copy.cluster(databases)
        #expect(try await FleetMigration(cluster: cluster).up().isComplete)
        return (databases, copy, cluster)
    }

    @Test func `a registered table is dropped after it was taken out of the list`() async throws {
        let (databases, copy, cluster) = try await make(
            down: "select shard.unregister_table('public.notes'); drop table public.notes;")
        defer { withExtendedLifetime((databases, copy)) {} }

        #expect(try await FleetMigration(cluster: cluster).down(expecting: 1001).isComplete)

        for name in ["one", "two"] {
            let tables: Int = try await databases.value(
                name, "select count(*) from shard.tables where table_name = 'public.notes'")
            #expect(tables == 0)
        }
    }

    @Test func `a way back that leaves a table in the list is refused before it begins`()
        async throws
    {
        let (databases, copy, cluster) = try await make(down: "drop table public.notes;")
        defer { withExtendedLifetime((databases, copy)) {} }

        let refusal = await #expect(throws: OperationError.self) {
            try await FleetMigration(cluster: cluster).down(expecting: 1001)
        }

        #expect(refusal?.kind == .refused)
        #expect(refusal?.next.contains("select shard.unregister_table('public.notes')") == true)
        let survey = try await FleetSurvey.take(cluster)
        #expect(survey.shards.allSatisfy { $0.state.versions.contains(1001) })
    }

    @Test func `what these programs need is not taken back by accident`() async throws {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["one"])
        let cluster = try databases.cluster()
        let last = try await FleetMigration(cluster: cluster).last().version

        let refusal = await #expect(throws: OperationError.self) {
            try await FleetMigration(cluster: cluster).down(expecting: last)
        }

        #expect(refusal?.kind == .refused)
        #expect(refusal?.description.contains("these programs need it") == true)
    }

    @Test func `a file without a statement is refused before anything begins`() async throws {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["one"])
        let copy = try MigrationCopy()
        try copy.add("1001_empty", "-- to be written\n")

        let refusal = await #expect(throws: OperationError.self) {
            try await FleetMigration(cluster: try copy.cluster(databases)).up()
        }

        #expect(refusal?.description.contains("1001_empty.up.sql has no statement") == true)
    }
}
