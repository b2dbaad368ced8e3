import FoundationEssentials
import Postgres
import Synchronization

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

/// Sends batches to a shard: one round trip, one transaction; two round trips for what is not
/// simply new.
struct BatchAppender {
    let shard: ShardID

    /// Stores `batch`, and puts what became of each message into `answers`, at its index.
    ///
    /// A message that the shard cannot take fails alone: the batch is halved until it stands by
    /// itself.
    ///
    /// - Throws: when a message has no answer. Those that have one are settled all the same.
    func append(
        _ batch: ArraySlice<PendingWrite>, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant, into answers: inout [AppendOutcome?]
    ) async throws(PostgresError) {
        do throws(PostgresError) {
            let outcomes = try await send(batch, connection, deadline: deadline)
            for (index, outcome) in zip(batch.indices, outcomes) { answers[index] = outcome }
        } catch {
            guard error.isFaultOfData, connection.isUsable else { throw error }
            if batch.count == 1, let only = batch.first {
                let refused = WriteError.refused(
                    id: only.message.id, reason: "\(error)", sqlState: error.sqlState)
                answers[batch.startIndex] = .settled(.failure(refused))
                return
            }
            let middle = batch.startIndex + batch.count / 2
            try await append(batch[..<middle], connection, deadline: deadline, into: &answers)
            try await append(batch[middle...], connection, deadline: deadline, into: &answers)
        }
    }

    private func send(
        _ batch: ArraySlice<PendingWrite>, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [AppendOutcome] {
        let columns = BatchColumns(batch)
        // What may be there already is asked for the long way at once.
        let wasSent = batch.map { $0.wasSent.exchange(true, ordering: .relaxed) }
        if !wasSent.contains(true),
            let heads = try await sendNew(columns, connection, deadline: deadline)
        {
            return batch.enumerated().map { index, entry in
                .settled(
                    .success(
                        Receipt(
                            seq: columns.seq(index, heads: heads), isDuplicate: false,
                            sentAt: entry.message.sentAt, receivedAt: entry.message.receivedAt,
                            shard: shard)))
            }
        }
        let rows = try await connection.query(columns.longStatement, deadline: deadline)
        guard rows.count == batch.count else {
            throw .decoding(column: "place", reason: "\(rows.count) answers to \(batch.count)")
        }
        var outcomes: [AppendOutcome] = []
        outcomes.reserveCapacity(batch.count)
        for (index, (row, entry)) in zip(rows, batch).enumerated() {
            outcomes.append(try outcome(row, entry.message, wasSent: wasSent[index]))
        }
        return outcomes
    }

    /// The heads of the rooms before the batch, sent the short way; nil when it needs the long way: a
    /// room is new or elsewhere, or a message was stored before.
    private func sendNew(
        _ columns: BatchColumns, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Int64]? {
        let rows: Rows
        let isSingle = columns.entries.count == 1
        do throws(PostgresError) {
            rows = try await connection.query(
                isSingle ? columns.singleStatement : columns.shortStatement, deadline: deadline)
        } catch {
            guard error.sqlState == "23505" else { throw error }
            return nil
        }
        if isSingle { return try rows[0].get(0, as: Int64?.self).map { [$0 - 1] } }
        let heads = try rows[0].get(0, as: [Int64]?.self)
        guard heads == nil || heads?.count == columns.rooms.count else {
            throw .decoding(column: "append_new", reason: "it gives one head for each room")
        }
        return heads
    }

    /// - Parameter wasSent: whether an attempt before may have stored the message: then its own
    ///   row is no duplicate.
    private func outcome(
        _ row: Row, _ message: Message, wasSent: Bool
    ) throws(PostgresError) -> AppendOutcome {
        let outcome: String = try row.get(0)
        switch outcome {
        case "stored", "duplicate":
            return .settled(
                .success(
                    Receipt(
                        seq: try row.get(1), isDuplicate: outcome == "duplicate" && !wasSent,
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

extension PostgresError {
    /// Whether the rows themselves are at fault, so that they would be refused again. Whatever else
    /// a server refuses – for want of rights, disk or sanity – is its own fault and may pass.
    var isFaultOfData: Bool {
        switch self {
        case .badParameter: true
        case .server(let error):
            // Data exceptions, violated constraints, rows beyond the server's own limits, and what a
            // trigger of the application refuses by RAISE EXCEPTION.
            ["22", "23", "54"].contains(String(error.sqlState.prefix(2)))
                || error.sqlState == "P0001"
        case .badConnectionString, .connectionFailed, .connectionLost, .deadlineExceeded,
            .cancelled, .decoding:
            false
        }
    }
}
