import BenchKit
import Postgres
import ShardRouter

/// The servers and clusters that the phases share.
struct Stage: Sendable {
    let plan: Plan
    let servers: [BenchServer]
    /// One shard, two shards.
    let one: BenchCluster
    let two: BenchCluster
    let repository: String

    static func make(below folder: String, repository: String, plan: Plan) async throws -> Stage {
        let servers = [
            try BenchServer.start("server-1", below: folder),
            try BenchServer.start("server-2", below: folder),
        ]
        let stage = Stage(
            plan: plan, servers: servers,
            one: try await .make(
                "one", on: [servers[0]], shards: 1, repository: repository),
            two: try await .make("two", on: servers, shards: 2, repository: repository),
            repository: repository)
        for shard in stage.one.shards + stage.two.shards {
            try await ScratchSchema.make(at: shard, plan: plan)
        }
        for server in servers { try await runScript("checkpoint", at: server.place("postgres")) }
        return stage
    }

    /// The bare client with the router's own statement, connections and batches.
    func append(
        _ cluster: BenchCluster, _ kind: BareClient.Kind = .new,
        sql: String = ScratchSchema.newSQL, batch: Double
    ) throws -> Run {
        try BareClient(
            kind: kind, places: cluster.shards.map(\.connectionString), sql: sql,
            connections: RouterLimits().lanes, batch: max(1, Int(batch.rounded())),
            roomSQL: ScratchSchema.roomSQL
        ).run(plan, watching: cluster)
    }

    /// One connection, one row, one commit.
    func insert(_ cluster: BenchCluster) throws -> Run {
        try BareClient(
            kind: .row, places: [cluster.shards[0].connectionString],
            sql: ScratchSchema.insertSQL
        ).run(plan, watching: cluster)
    }
}
