import Postgres

/// Whether the first shard is well after its migration: only then the others follow.
struct CanaryCheck {
    /// The operator's own: one row whose first column is true.
    let query: String?

    /// - Returns: what is wrong; nil when nothing is.
    func problem(_ connection: PostgresConnection) async throws -> String? {
        let deadline = ContinuousClock.now + Cluster.patience
        let invalid: String? = try await connection.query(
            """
            select string_agg(indexrelid::regclass::text, ', ') from pg_index
            where not (indisvalid and indisready and indislive)
            """, deadline: deadline)[0].get(0)
        if let invalid { return "invalid indexes: \(invalid)" }
        let broken = try await TableChecks.problems(connection, deadline: deadline)
            .filter { $0.kind == .broken || $0.kind == .refers }
        if let first = broken.first {
            return "table \(first.table) can no longer move with its rooms: \(first.what)"
        }
        guard let query else { return nil }
        return try await answer(query, connection, deadline)
    }

    private func answer(
        _ query: String, _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws -> String? {
        let rows: Rows
        do throws(PostgresError) {
            rows = try await connection.query(
                Statement(query, isPrepared: false), deadline: deadline)
        } catch {
            return "the check query failed: \(error)"
        }
        guard let row = rows.first else { return "the check query found no row" }
        do throws(PostgresError) {
            return try row.get(0, as: Bool?.self) == true ? nil : "the check query is not true"
        } catch {
            return "the check query does not give a boolean: \(error)"
        }
    }
}
