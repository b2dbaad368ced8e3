import FoundationEssentials
import Postgres

/// What a shard says about one message of a batch.
enum AppendOutcome: Sendable {
    /// Stored, now or before, or refused for good.
    case settled(Result<Receipt, WriteError>)
    /// Not this shard's room.
    case elsewhere(SlotAnswer)
}

/// What a shard says about a slot.
struct SlotAnswer: Sendable {
    /// `none`, `preparing`, `importing`, `active`, `fenced` or `moved`.
    var state: String
    var movedTo: ShardID?
    var epoch: Epoch
}

/// Sends batches to a shard: one round trip, one transaction.
struct BatchAppender {
    private static let sql = """
        select outcome, seq, sent_at, received_at, slot_state, moved_to, slot_epoch
        from shard.append_messages($1, $2, $3, $4, $5, $6)
        """

    let shard: ShardID

    /// Stores `batch`, and says for each message, in the same order, what became of it.
    ///
    /// A message that the shard cannot take fails alone: the batch is halved until it stands by
    /// itself.
    func append(
        _ batch: ArraySlice<PendingWrite>, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [AppendOutcome] {
        do throws(PostgresError) {
            return try await send(batch, connection, deadline: deadline)
        } catch {
            guard error.repeatability == .never, connection.isUsable else { throw error }
            if batch.count == 1, let only = batch.first {
                let refused = WriteError.refused(
                    id: only.message.id, reason: "\(error)", sqlState: error.sqlState)
                return [.settled(.failure(refused))]
            }
            let middle = batch.startIndex + batch.count / 2
            let first = try await append(batch[..<middle], connection, deadline: deadline)
            return try await first + append(batch[middle...], connection, deadline: deadline)
        }
    }

    private func send(
        _ batch: ArraySlice<PendingWrite>, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [AppendOutcome] {
        let rows = try await connection.query(
            Statement(
                Self.sql,
                [
                    ArrayOf(batch) { $0.message.room.text }, ArrayOf(batch) { $0.message.id },
                    ArrayOf(batch) { $0.message.author }, ArrayOf(batch) { $0.message.sentAt },
                    ArrayOf(batch) { $0.message.receivedAt }, ArrayOf(batch) { $0.message.text },
                ]), deadline: deadline)
        guard rows.count == batch.count else {
            throw .decoding(column: "place", reason: "\(rows.count) answers to \(batch.count)")
        }
        var outcomes: [AppendOutcome] = []
        outcomes.reserveCapacity(batch.count)
        for (row, entry) in zip(rows, batch) {
            outcomes.append(try outcome(row, entry.message))
        }
        return outcomes
    }

    private func outcome(_ row: Row, _ message: Message) throws(PostgresError) -> AppendOutcome {
        let outcome: String = try row.get(0)
        switch outcome {
        case "stored", "duplicate":
            return .settled(
                .success(
                    Receipt(
                        seq: try row.get(1), isDuplicate: outcome == "duplicate",
                        sentAt: try row.get(2), receivedAt: try row.get(3), shard: shard)))
        case "conflict":
            return .settled(.failure(.conflict(id: message.id)))
        case "elsewhere":
            let movedTo: Int? = try row.get(5)
            return .elsewhere(
                SlotAnswer(
                    state: try row.get(4), movedTo: movedTo.map { ShardID($0) },
                    epoch: Epoch(try row.get(6))))
        default:
            throw .decoding(column: "outcome", reason: "\(outcome) is no outcome")
        }
    }
}
