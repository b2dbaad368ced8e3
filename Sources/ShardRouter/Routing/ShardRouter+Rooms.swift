public import Postgres

/// Why a transaction for a room did not happen, or may have happened.
public enum TransactionError: Error, Sendable, Equatable {
    /// The room's shard was out of reach, or the room on its way, until the patience ended.
    /// Nothing happened.
    case unavailable(shard: ShardID, reason: String)
    /// The connection died during the commit: it may have happened.
    case unknownOutcome(shard: ShardID, reason: String)
}

/// A transaction on the shard that owns a room.
public struct RoomTransaction: Sendable {
    let connection: PostgresConnection
    /// Statements that run longer are cancelled.
    public let deadline: ContinuousClock.Instant

    /// Runs one statement inside the transaction.
    public func query(
        _ sql: String, _ parameters: [any PostgresEncodable] = []
    ) async throws(PostgresError) -> Rows {
        try await connection.query(sql, parameters, deadline: deadline)
    }
}

extension ShardRouter {
    /// Messages of `room`, oldest first: the last ones below `before`, or the first ones above
    /// `after`; the newest when neither is given, and `before` wins when both are.
    ///
    /// Rows and ownership are read in one statement: a shard that is not the owner gives none.
    public func history(
        of room: RoomID, before: Int64? = nil, after: Int64? = nil, limit: Int,
        patience: Duration
    ) async throws(ReadError) -> HistoryPage {
        let query = HistoryQuery(room: room, before: before, after: after, limit: limit)
        do {
            let question = OwnerQuestion(name: "router.history", isForeign: false) {
                connection, deadline in
                let rows = try await connection.query(query.statement, deadline: deadline)
                return try query.page(rows)
            }
            return try await ask(question, ownerOf: room, patience: patience)
        } catch let error as PostgresError where error.repeatability == .never {
            throw .refused(reason: "\(error)", sqlState: error.sqlState)
        } catch {
            throw .unavailable(shard: route(room).shard ?? ShardID(0), reason: "\(error)")
        }
    }

    /// Runs `body` in a transaction on the shard that owns `room`, and commits it.
    ///
    /// The transaction begins with the proof of ownership and holds it: the room cannot change its
    /// shard before the end. `body` runs at most once. When it throws, everything is rolled back.
    /// It must write rows of this room only, in READ COMMITTED.
    ///
    /// - Throws: ``TransactionError``, or what `body` throws.
    public func withTransaction<Value: Sendable>(
        for room: RoomID, patience: Duration,
        _ body: @escaping @Sendable (RoomTransaction) async throws -> Value
    ) async throws -> Value {
        try await inTransaction(
            "router.transaction", "begin isolation level read committed",
            proving: "select state, moved_to, epoch from shard.prove_ownership($1)",
            for: room, patience: patience, body)
    }

    /// Runs `body` on one snapshot of the shard that owns `room`; nothing can be written.
    ///
    /// - Throws: ``TransactionError``, or what `body` throws.
    public func read<Value: Sendable>(
        for room: RoomID, patience: Duration,
        _ body: @escaping @Sendable (RoomTransaction) async throws -> Value
    ) async throws -> Value {
        // The check is the first statement, so it and the rows come from one snapshot.
        try await inTransaction(
            "router.read", "begin isolation level repeatable read read only",
            proving: "select state, moved_to, epoch from shard.slots "
                + "where slot = shard.slot_of($1)",
            for: room, patience: patience, body)
    }

    /// Runs `body` on every shard that owns slots, all at the same time: for the rare question
    /// over all rooms. Each shard answers from its own moment.
    ///
    /// - Returns: for each shard, by id, what `body` returned or why it did not.
    public func forEachShard<Value: Sendable>(
        patience: Duration,
        _ body: @escaping @Sendable (Shard, RoomTransaction) async throws -> Value
    ) async -> [(shard: Shard, outcome: Result<Value, any Error>)] {
        let deadline = ContinuousClock.now + patience
        let topology = topology
        let owning = topology.slotCounts.filter { $0.value > 0 }
        let outcomes = await withTaskGroup(
            of: (shard: Shard, outcome: Result<Value, any Error>)?.self
        ) { group in
            for id in owning.keys {
                group.addTask {
                    guard let shard = topology.shard(id) else { return nil }
                    do {
                        let value = try await self.pools.withConnection(
                            to: id, deadline: deadline, reset: true
                        ) {
                            try await body(
                                shard, RoomTransaction(connection: $0, deadline: deadline))
                        }
                        return (shard, .success(value))
                    } catch {
                        return (shard, .failure(error))
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        return outcomes.compactMap(\.self).sorted { $0.shard.id < $1.shard.id }
    }

    /// Opens a transaction and proves the ownership in one round trip, then runs `body` in it.
    private func inTransaction<Value: Sendable>(
        _ name: StaticString, _ begin: String, proving proof: String, for room: RoomID,
        patience: Duration, _ body: @escaping @Sendable (RoomTransaction) async throws -> Value
    ) async throws -> Value {
        let question = OwnerQuestion(name: name, isForeign: true) { connection, deadline in
            let opening = try await connection.pipeline(
                [Statement(begin), Statement(proof, [room.text])], deadline: deadline)
            return try await self.finish(connection, opening[1], deadline: deadline, body)
        }
        return try await ask(question, ownerOf: room, patience: patience)
    }

    /// Runs the body when the shard owns the room, and ends the transaction.
    private func finish<Value: Sendable>(
        _ connection: PostgresConnection, _ ownership: Rows, deadline: ContinuousClock.Instant,
        _ body: @Sendable (RoomTransaction) async throws -> Value
    ) async throws -> OwnerAnswer<Value> {
        let answer = try SlotAnswer(ownership)
        guard answer.state == "active" else {
            _ = try await connection.query("rollback", deadline: deadline)
            return .elsewhere(answer)
        }
        do {
            let value = try await body(RoomTransaction(connection: connection, deadline: deadline))
            try await commit(connection, deadline: deadline)
            return .done(value)
        } catch {
            await rollBack(connection)
            throw BodyFailed(error: error)
        }
    }

    /// Ends the transaction without effect, at the latest by closing the connection. Never fails:
    /// the reason for it must reach the caller.
    private func rollBack(_ connection: PostgresConnection) async {
        guard connection.isInTransaction, connection.isUsable else { return }
        do throws(PostgresError) {
            _ = try await connection.query("rollback", deadline: .now + .seconds(2))
        } catch {
            connection.close()
        }
    }

    private func commit(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws {
        do throws(PostgresError) {
            _ = try await connection.query("commit", deadline: deadline)
        } catch {
            guard error.repeatability == .unknownOutcome else { throw error }
            throw CommitLost(reason: "\(error)")
        }
    }
}
