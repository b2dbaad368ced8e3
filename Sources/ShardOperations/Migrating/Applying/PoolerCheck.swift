import Postgres

/// Whether something stands between here and the server that gives each transaction another session,
/// such as PgBouncer in its transaction mode: locks and settings of a session mean nothing there.
struct PoolerCheck {
    /// Two sessions of the same database.
    let one: PostgresConnection
    let other: PostgresConnection

    /// Such a pooler gives the session that was used last to whoever comes first. So while `other` is
    /// in a transaction, it has taken the session of `one`, or `one` finds itself in a new one. One
    /// that gives its sessions in turn has given another by the second question.
    ///
    /// - Throws: a refusal.
    func run(database: String) async throws {
        let before = try await session(one)
        let again = try await session(one)
        do throws(PostgresError) {
            try await other.script("begin", deadline: .now + Cluster.patience)
        } catch .connectionLost(let reason, _) where reason.contains("pooling mode") {
            throw refusal(database)  // PgBouncer's statement mode ends whoever says BEGIN.
        } catch {
            throw OperationError.failed("\(database): \(error)")
        }
        let during = try await (session(other), session(one))
        try await other.script("rollback", deadline: .now + Cluster.patience)
        let after = try await session(one)
        guard again == before, during.0 != before, during.1 == before, after == before
        else { throw refusal(database) }
    }

    private func refusal(_ database: String) -> OperationError {
        .refused(
            "\(database) is reached by way of a connection pooler that gives each transaction "
                + "another session (PgBouncer's pool_mode = transaction)",
            next: "name the PostgreSQL server itself in the endpoint, or a pool with "
                + "pool_mode = session")
    }

    /// The server's process and when it began: numbers of processes come again.
    private func session(_ connection: PostgresConnection) async throws -> String {
        try await connection.query(
            Statement(
                "select pid || ' ' || backend_start from pg_stat_activity "
                    + "where pid = pg_backend_pid()", isPrepared: false),
            deadline: .now + Cluster.patience)[0].get(0)
    }
}
