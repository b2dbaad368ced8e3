import BenchKit
import Foundation
import Postgres

/// Everything that a move makes somewhere, as counts and sizes over all shards.
struct Leftovers {
    private(set) var counts: [(name: String, value: Double)] = []
    private(set) var bytes: [(name: String, value: Double)] = []

    /// What grows because it is the history of what was done.
    static let journals = ["catalog.moves", "catalog.topology"]

    func count(_ name: String) -> Double { counts.first { $0.name == name }?.value ?? 0 }
    func size(_ name: String) -> Double { bytes.first { $0.name == name }?.value ?? 0 }

    init(_ cluster: BenchCluster) async throws {
        try await readShards(cluster)
        try await readCatalog(cluster)
        counts.append(("files of the runner that are open", try Self.files("/proc/self/fd")))
        let status = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let pages = status.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
        bytes.append(("memory of the runner", pages * 4_096))
    }

    /// Of both shards together; what belongs to a server is counted at each of them.
    private mutating func readShards(_ cluster: BenchCluster) async throws {
        for shard in cluster.shards {
            // Connections that were closed a moment ago are gone by now. What decoding leaves in
            // pg_logical goes with the next checkpoint.
            try await Task.sleep(for: .milliseconds(300))
            try await runScript("checkpoint", at: shard.connectionString)
            try await withDatabase(shard.connectionString) { connection in
                let deadline = ContinuousClock.now + .seconds(60)
                for (name, sql) in Self.countedAtShards {
                    let value: Int64 = try await connection.query(sql, deadline: deadline)[0].get(0)
                    Self.add(Double(value), to: &counts, name)
                }
                for (name, sql) in Self.sizedAtShards {
                    let value: Int64 = try await connection.query(sql, deadline: deadline)[0].get(0)
                    Self.add(Double(value), to: &bytes, name)
                }
            }
        }
    }

    private mutating func readCatalog(_ cluster: BenchCluster) async throws {
        let rows = try await withDatabase(cluster.catalog.connectionString) {
            try await $0.query(
                """
                select case when c.relname in ('moves', 'topology') then 'catalog.' || c.relname
                        else 'all other tables of the catalog' end,
                    sum(pg_total_relation_size(c.oid))::int8
                from pg_class c where c.relnamespace = 'catalog'::regnamespace and c.relkind = 'r'
                group by 1 order by 1
                """, deadline: .now + .seconds(60))
        }
        for row in rows {
            bytes.append((try row.get(0), Double(try row.get(1, as: Int64.self))))
        }
        let open: Int64 = try await withDatabase(cluster.catalog.connectionString) {
            try await $0.query(
                "select count(*) from catalog.moving_slots", deadline: .now + .seconds(60))[0]
                .get(0)
        }
        counts.append(("slots of open moves", Double(open)))
    }

    private static func add(
        _ value: Double, to list: inout [(name: String, value: Double)], _ name: String
    ) {
        if let place = list.firstIndex(where: { $0.name == name }) {
            list[place].value += value
        } else {
            list.append((name, value))
        }
    }

    private static func files(_ path: String) throws -> Double {
        Double(try FileManager.default.contentsOfDirectory(atPath: path).count)
    }

    private static let countedAtShards = [
        ("replication slots", "select count(*) from pg_replication_slots"),
        ("publications", "select count(*) from pg_publication"),
        ("subscriptions", "select count(*) from pg_subscription"),
        ("replication origins", "select count(*) from pg_replication_origin"),
        ("files in pg_replslot", "select count(*) from pg_ls_dir('pg_replslot')"),
        (
            "files in pg_logical",
            """
            select (select count(*) from pg_ls_logicalsnapdir())
                + (select count(*) from pg_ls_logicalmapdir())
            """
        ),
        (
            "connections",
            "select count(*) from pg_stat_activity where backend_type <> 'autovacuum worker'"
        ),
        ("rows of shard.move_marks", "select count(*) from shard.move_marks"),
        ("rows of shard.move_probes", "select count(*) from shard.move_probes"),
        ("messages, old copies included", "select count(*) from public.messages"),
    ]

    private static let sizedAtShards = [
        (
            "log held back by slots",
            """
            select coalesce(max(pg_current_wal_lsn() - restart_lsn), 0)::int8
            from pg_replication_slots
            """
        ),
        ("shard.slots", "select pg_total_relation_size('shard.slots')"),
        (
            "shard.move_marks and move_probes",
            """
            select pg_total_relation_size('shard.move_marks')
                + pg_total_relation_size('shard.move_probes')
            """
        ),
        (
            "messages and rooms",
            "select pg_total_relation_size('messages') + pg_total_relation_size('rooms')"
        ),
        (
            "PostgreSQL's own catalogues",
            """
            select sum(pg_total_relation_size(oid))::int8 from pg_class
            where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'
            """
        ),
    ]
}
