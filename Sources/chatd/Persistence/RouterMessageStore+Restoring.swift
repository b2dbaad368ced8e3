import FoundationEssentials
import Postgres
import ShardRouter

extension RouterMessageStore {
    /// What a caller waits before it tries again; a lost message is not urgent.
    private static let retryAfter: Duration = .seconds(1)

    func known(
        _ ids: [UUID], in room: RoomID, patience: Duration
    ) async throws(ReadError) -> Set<UUID> {
        do {
            return try await router.read(for: room, patience: patience) { shard in
                let rows = try await shard.query(
                    "select id from public.messages where room_id = $1 and id = any ($2)",
                    [room.text, ids])
                var known: Set<UUID> = []
                for row in rows { known.insert(try row.get(0)) }
                return known
            }
        } catch {
            throw .unavailable(shard: shard(of: room), reason: "\(error)")
        }
    }

    /// Data that cannot be stored, or breaks a constraint (classes 22 and 23). Whatever else a server
    /// refuses is its own fault, and may be mended.
    private static func isAboutTheMessage(_ error: PostgresError) -> Bool {
        ["22", "23"].contains(error.sqlState?.prefix(2))
    }

    func restore(
        _ message: Message, seq: Int64?, patience: Duration
    ) async throws(WriteError) -> Receipt {
        let shard = shard(of: message.room)
        let answer: RestoredRow
        do {
            answer = try await router.withTransaction(for: message.room, patience: patience) {
                let rows = try await $0.query(
                    "select * from shard.restore_message($1, $2, $3, $4, $5, $6, $7)",
                    [
                        message.room.text, seq ?? 0, message.id, message.author, message.sentAt,
                        message.receivedAt, message.text,
                    ])
                return try RestoredRow(rows[0])
            }
        } catch let error as PostgresError where Self.isAboutTheMessage(error) {
            throw .refused(id: message.id, reason: "\(error)", sqlState: error.sqlState)
        } catch TransactionError.unknownOutcome(_, let reason) {
            throw .unknownOutcome(shard: shard, reason: reason)
        } catch {
            throw .unavailable(
                shard: shard, reason: "\(error)", retryAfter: Self.retryAfter)
        }
        switch answer.outcome {
        case "stored", "duplicate":
            return Receipt(
                seq: answer.seq ?? 0, isDuplicate: answer.outcome == "duplicate",
                sentAt: answer.sentAt ?? message.sentAt,
                receivedAt: answer.receivedAt ?? message.receivedAt, shard: shard)
        case "conflict":
            throw .conflict(id: message.id)
        default:
            throw .unavailable(
                shard: shard, reason: "the room is on its way to another shard",
                retryAfter: Self.retryAfter)
        }
    }

    private func shard(of room: RoomID) -> ShardID {
        router.route(room).shard ?? ShardID(0)
    }
}

/// What `shard.restore_message` answers.
private struct RestoredRow: Sendable {
    let outcome: String
    let seq: Int64?
    let sentAt: Timestamp?
    let receivedAt: Timestamp?

    init(_ row: Row) throws(PostgresError) {
        outcome = try row.get("outcome")
        seq = try row.get("seq")
        sentAt = try row.get("sent_at")
        receivedAt = try row.get("received_at")
    }
}
