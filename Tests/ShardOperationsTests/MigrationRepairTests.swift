import ShardOperations
import TestKit
import Testing

@Suite struct MigrationRepairTests {
    private func make() async throws -> (Databases, MigrationCopy, Cluster) {
        let databases = try await Databases.fleet(on: try PostgresServer.start(), ["one"])
        let copy = try MigrationCopy()
        return (databases, copy, try copy.cluster(databases))
    }

    private func up(_ cluster: Cluster) async throws -> FleetMigration.Result {
        try await FleetMigration(cluster: cluster).up()
    }

    private func repair(_ cluster: Cluster, _ decision: MigrationRepair.Decision) async throws {
        _ = try await MigrationRepair(cluster: cluster, database: "one").run(decision)
    }

    @Test(arguments: [true, false])
    func `a statement whose end nobody saw waits for a human, who decides`(
        hasRun: Bool
    ) async throws {
        let (databases, copy, cluster) = try await make()
        try copy.add("1001_traces", "create table traces (n int4);")
        _ = try await up(cluster)
        try copy.add(
            "1002_commits",
            """
            -- shardctl: transaction=off
            do $$ begin insert into traces values (1); commit; end $$;
            insert into traces values (2);
            """)
        // As a runner leaves it that was killed in the first statement.
        try await databases.script(
            "one",
            """
            insert into shard.migration_steps (version, direction, step, statement, state)
            select 1002, 'up', 1,
                encode(sha256(convert_to($s$do $$ begin insert into traces values (1); commit; end $$
            $s$, 'UTF8')), 'hex'), 'started'
            """)

        let refusal = await #expect(throws: OperationError.self) { try await up(cluster) }
        #expect(refusal?.description.contains("whether all of it has run") == true)
        #expect(refusal?.next.contains("--step 1002/1 --done, or --again") == true)
        try await repair(
            cluster,
            hasRun
                ? .stepIsDone(version: 1002, step: 1) : .stepRunsAgain(version: 1002, step: 1))
        #expect(try await up(cluster).isComplete)

        let traces: String = try await databases.value(
            "one", "select string_agg(n::text, ' ' order by n) from traces")
        #expect(traces == (hasRun ? "2" : "1 2"))
    }

    @Test func `an edit of an applied file can be accepted`() async throws {
        let (databases, copy, cluster) = try await make()
        defer { withExtendedLifetime(databases) {} }
        try copy.add("1001_a", "create table a (n int4);")
        _ = try await up(cluster)
        try copy.add("1001_a", "create table a (n int4); -- a better comment")

        let refusal = await #expect(throws: OperationError.self) { try await up(cluster) }
        #expect(refusal?.next.contains("repair one --accept 1001") == true)
        try await repair(cluster, .accept(version: 1001))

        #expect(try await up(cluster).isComplete)
        let state = try await FleetSurvey.take(cluster).shards[0].state
        #expect(state.history.last?.origin == "repaired")
        #expect(try await DriftCheck(cluster: cluster).run().allSatisfy(\.isAsWanted))
    }

    @Test func `a lost row of the history can be accepted, and leaves no drift`() async throws {
        let (databases, copy, cluster) = try await make()
        defer { withExtendedLifetime((databases, copy)) {} }
        _ = try await up(cluster)
        try await databases.script("one", "delete from shard.migrations where version = 4")

        try await repair(cluster, .accept(version: 4))

        #expect(try await up(cluster).isComplete)
        #expect(try await DriftCheck(cluster: cluster).run().allSatisfy(\.isAsWanted))
    }

    @Test func `a migration whose file is gone can be forgotten`() async throws {
        let (databases, copy, cluster) = try await make()
        defer { withExtendedLifetime(databases) {} }
        try copy.add("1001_a", "create table a (n int4);")
        _ = try await up(cluster)
        try copy.remove("1001_a")

        let refusal = await #expect(throws: OperationError.self) { try await up(cluster) }
        #expect(refusal?.next.contains("repair one --forget 1001") == true)
        try await repair(cluster, .forget(version: 1001))

        #expect(try await up(cluster).isComplete)
    }

    @Test func `what is in order is not repaired`() async throws {
        let (databases, copy, cluster) = try await make()
        defer { withExtendedLifetime(databases) {} }
        try copy.add("1001_a", "create table a (n int4);")

        for decision: MigrationRepair.Decision in [
            .forget(version: 5), .accept(version: 5), .accept(version: 1001),
            .accept(version: 9), .stepIsDone(version: 5, step: 1),
        ] {
            let refusal = await #expect(throws: OperationError.self) {
                try await repair(cluster, decision)
            }
            #expect(refusal?.kind == .refused, "\(decision)")
        }
    }
}
