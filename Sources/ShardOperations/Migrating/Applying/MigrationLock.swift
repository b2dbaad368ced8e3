import Postgres

/// The right to migrate one database, held by a session until it ends.
///
/// Polled: a session that waits inside `pg_advisory_lock` has a snapshot, for which CREATE INDEX
/// CONCURRENTLY of the holder would wait in turn.
struct MigrationLock {
    let connection: PostgresConnection
    let key: Int64
    let limits: MigrationLimits

    /// - Parameter tell: called again and again while somebody else has it, in words who.
    /// - Throws: a failure after `patience`.
    func take(patience: Duration, _ tell: @Sendable (String) -> Void) async throws {
        let limit = ContinuousClock.now + patience
        var pause = Duration.milliseconds(20)
        while true {
            let row = try await connection.query(
                Statement("select pg_try_advisory_lock($1)", [key], isPrepared: false),
                deadline: .now + Cluster.patience)[0]
            if try row.get(0, as: Bool.self) { return }
            let holder = try await holder()
            tell(holder ?? "a runner that has just ended")
            guard ContinuousClock.now + pause < limit else {
                throw OperationError.failed(
                    "another migration does not end: \(holder ?? "nobody knows whose")",
                    next: "wait for it, or end it: select pg_terminate_backend(PID)")
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, limits.poll)
        }
    }

    func release() async throws(PostgresError) {
        _ = try await connection.query(
            Statement("select pg_advisory_unlock($1)", [key], isPrepared: false),
            deadline: .now + Cluster.patience)
    }

    private func holder() async throws -> String? {
        let rows = try await connection.query(
            Statement(
                """
                select a.pid, '', a.usename, a.application_name, a.state,
                    extract(epoch from clock_timestamp() - a.state_change)::int8,
                    left(a.query, 4000), a.backend_type
                from pg_locks l join pg_stat_activity a on a.pid = l.pid
                where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                    and l.database = (select oid from pg_database where datname = current_database())
                    and ((l.classid::int8 << 32) | l.objid::int8) = $1
                """, [key], isPrepared: false), deadline: .now + Cluster.patience)
        return try rows.first.map(LockWatch.words)
    }
}
