import Postgres
import ShardOperations
import TestKit
import Testing

@Suite struct BaselineTests {
    private static let notes = """
        create table public.notes (room_id text collate "C" not null, id uuid not null,
            body text, primary key (room_id, id));
        """

    /// A fleet whose files make `notes`, and an empty database beside it.
    private func make() async throws -> (Databases, MigrationCopy, Cluster) {
        let databases = try await Databases.make(
            on: try PostgresServer.start(), shards: ["one", "old"])
        let copy = try MigrationCopy()
        try copy.add(
            "1001_notes", Self.notes + "select shard.register_table('public.notes');")
        try copy.add("1002_later", "alter table public.notes add column mood text;")
        return (databases, copy, try copy.cluster(databases))
    }

    private func adopt(
        _ cluster: Cluster, _ databases: Databases, acceptsDifferences: Bool = false
    ) async throws -> Baseline.Outcome {
        try await Baseline(
            cluster: cluster, place: .endpoint(databases.endpoint("old")), upTo: 1001,
            acceptsDifferences: acceptsDifferences
        ).run()
    }

    @Test func `a database that had its tables before becomes a shard`() async throws {
        let (databases, copy, cluster) = try await make()
        defer { withExtendedLifetime((databases, copy)) {} }
        try await databases.script(
            "old", Self.notes + "insert into notes values ('a', gen_random_uuid())")

        let outcome = try await adopt(cluster, databases)
        _ = try await ShardAdding(
            cluster: cluster, name: "old", endpoint: databases.endpoint("old"), weight: 1
        ).run()
        for difference in outcome.differences {
            try await databases.script("old", difference.repair)
        }

        #expect(outcome.versions == [1001])
        #expect(outcome.differences.map(\.object.description) == ["registration public.notes"])
        let history = try await FleetSurvey.take(cluster).shards[0].state.history
        #expect(history.filter { $0.origin == "baseline" }.map(\.version) == [1001])
        #expect(history.last?.version == 1002)
        #expect(try await DriftCheck(cluster: cluster).run().allSatisfy(\.isAsWanted))
        let rows: Int = try await databases.value("old", "select count(*) from notes")
        #expect(rows == 1)
    }

    @Test func `a database that is something else is refused, unless that is accepted`()
        async throws
    {
        let (databases, copy, cluster) = try await make()
        defer { withExtendedLifetime((databases, copy)) {} }
        try await databases.script("old", "create table notes (room_id text, id uuid)")

        let refusal = await #expect(throws: OperationError.self) {
            try await adopt(cluster, databases)
        }
        let hasHistory: Bool = try await databases.value(
            "old", "select to_regclass('shard.migrations') is not null")

        #expect(refusal?.kind == .refused)
        #expect(refusal?.description.contains("column public.notes.body is missing") == true)
        #expect(!hasHistory)
        let outcome = try await adopt(cluster, databases, acceptsDifferences: true)
        #expect(outcome.versions == [1001])
        #expect(!outcome.differences.isEmpty)
        let again = await #expect(throws: OperationError.self) {
            try await adopt(cluster, databases)
        }
        #expect(again?.description.contains("already") == true)
    }
}
