import Postgres

/// A change of the tables would break a move of their rows, so a migration waits for the open moves,
/// or is refused. None is opened while the caller has the lock of migrations.
struct MovesRule {
    /// How long open moves are waited for.
    let patience: Duration

    func check(_ catalog: PostgresConnection, _ tell: @Sendable (String) -> Void) async throws {
        let limit = ContinuousClock.now + patience
        while true {
            let moves = try await openMoves(catalog)
            guard let first = moves.first else { return }
            let words = moves.count == 1 ? "move \(first) is" : "\(moves.count) moves are"
            guard .now < limit else {
                throw OperationError.refused(
                    "\(words) open, and a change of their tables would break them",
                    next: "shardctl move resume \(first), then repeat the migration; "
                        + "or let it wait: --wait-for-moves 10min")
            }
            tell("\(words) open")
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    private func openMoves(_ catalog: PostgresConnection) async throws -> [Int64] {
        let deadline = ContinuousClock.now + Cluster.patience
        // A catalog from before moves has no such table.
        guard try await Cluster.hasJournal(catalog, deadline: deadline) else { return [] }
        return try await catalog.query(
            """
            select coalesce(array_agg(distinct move_id order by move_id), '{}')
            from catalog.moving_slots
            """, deadline: deadline)[0].get(0)
    }
}
