import Foundation
import Postgres

/// The runs over the fleet, as the catalog has them. One is open at most.
struct MigrationRunJournal: Sendable {
    /// What one run is about; whoever goes on with it is about the same.
    struct Subject: Sendable, Equatable {
        var direction: MigrationDirection
        /// Of all files, of the catalog and of the shards.
        var filesSum: String
        /// What every shard has, or has no more, at its end.
        var versions: [Int]
    }

    /// A run that was begun and not ended.
    struct OpenRun: Sendable {
        var id: Int64
        var subject: Subject
        var canary: String?
        /// The operator's query for the canary.
        var check: String?
    }

    let catalog: PostgresConnection

    private var soon: ContinuousClock.Instant { .now + Cluster.patience }

    /// The run that is open, if there is one.
    func open() async throws(PostgresError) -> OpenRun? {
        let rows: Rows
        do throws(PostgresError) {
            rows = try await catalog.query(
                """
                select id, direction, files_sum, versions, canary, check_query
                from catalog.migration_runs where state = 'open'
                """, deadline: soon)
        } catch {
            if error.sqlState == "42P01" { return nil }  // A catalog from before the journal.
            throw error
        }
        guard let row = rows.first else { return nil }
        let (id, direction): (Int64, String) = (try row.get(0), try row.get(1))
        let (sum, versions): (String, [Int32]) = (try row.get(2), try row.get(3))
        return OpenRun(
            id: id,
            subject: Subject(
                direction: direction == "up" ? .up : .down, filesSum: sum,
                versions: versions.map(Int.init)),
            canary: try row.get(4), check: try row.get(5))
    }

    /// - Throws: a refusal when no run about `subject` is open.
    func check(isOpen subject: Subject) async throws {
        let known = try await open()
        guard known?.subject != subject else { return }
        throw OperationError.refused(
            known.map {
                "run \($0.id) is open, but was begun with other files or for another target"
            } ?? "no run was stopped half-way",
            next: "shardctl migrate up")
    }

    /// Goes on with the open run when it is about the same, otherwise begins a new one in its place.
    ///
    /// - Parameters:
    ///   - canary: of a new run.
    ///   - check: the same.
    func begin(
        _ subject: Subject, shards: [String], canary: String?, check: String?
    ) async throws -> Int64 {
        let known = try await open()
        if let known, known.subject == subject {
            try await list(shards, of: known.id)
            return known.id
        }
        let id: Int64 = try await catalog.pipeline(
            [
                Statement("begin"),
                Statement(
                    "update catalog.migration_runs set state = 'replaced', ended_at = "
                        + "clock_timestamp() where state = 'open'"),
                Statement(
                    """
                    insert into catalog.migration_runs
                        (direction, files_sum, versions, canary, check_query, runner)
                    values ($1, $2, $3::int8[]::int4[], $4, $5, $6) returning id
                    """,
                    [
                        subject.direction.rawValue, subject.filesSum, subject.versions, canary,
                        check,
                        "\(ProcessInfo.processInfo.hostName) \(getpid())",
                    ]),
                Statement("commit"),
            ], deadline: soon)[2][0].get(0)
        try await list(shards, of: id)
        return id
    }

    private func list(_ shards: [String], of run: Int64) async throws {
        _ = try await catalog.query(
            """
            insert into catalog.migration_run_shards as s (run_id, shard)
            select $1, unnest($2::text[])
            on conflict (run_id, shard) do update set state = 'pending', problem = null
            where s.state <> 'pending'
            """, [run, shards], deadline: soon)
    }

    func began(_ shard: String, in run: Int64) async throws {
        _ = try await catalog.query(
            """
            update catalog.migration_run_shards
            set state = 'running', problem = null, started_at = clock_timestamp(), ended_at = null
            where run_id = $1 and shard = $2
            """, [run, shard], deadline: soon)
    }

    func ended(_ shard: String, in run: Int64, problem: String?) async throws {
        _ = try await catalog.query(
            """
            update catalog.migration_run_shards
            set state = case when $3::text is null then 'done' else 'failed' end, problem = $3,
                ended_at = clock_timestamp()
            where run_id = $1 and shard = $2
            """, [run, shard, problem], deadline: soon)
    }

    /// All shards have what the run is about, those included whose runner was killed before it could
    /// write that down.
    func finish(_ run: Int64) async throws {
        _ = try await catalog.query(
            """
            with shards as (
                update catalog.migration_run_shards
                set state = 'done', problem = null,
                    ended_at = coalesce(ended_at, clock_timestamp())
                where run_id = $1 and state <> 'done')
            update catalog.migration_runs set state = 'done', ended_at = clock_timestamp()
            where id = $1
            """, [run], deadline: soon)
    }
}
