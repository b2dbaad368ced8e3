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
    ) async throws(WriteError) -> KeptMessage {
        let row = try await row(
            for: message, patience: patience,
            "select *, null::text as event from shard.restore_message($1, $2, $3, $4, $5, $6, $7, $8)",
            [
                message.room.text, seq ?? 0, message.id, message.author, message.sentAt,
                message.receivedAt, message.text, message.event,
            ])
        switch row.outcome {
        case "stored", "duplicate": return row.kept(message)
        case "conflict": throw .conflict(id: message.id)
        default: throw elsewhere(message.room)
        }
    }

    /// What one of the shard's functions answers, in a transaction that proves the ownership.
    func row(
        for message: Message, patience: Duration, _ call: String,
        _ parameters: [any PostgresEncodable]
    ) async throws(WriteError) -> KeptRow {
        let shard = shard(of: message.room)
        do {
            return try await router.withTransaction(for: message.room, patience: patience) {
                try KeptRow(try await $0.query(call, parameters)[0])
            }
        } catch let error as PostgresError where Self.isAboutTheMessage(error) {
            throw .refused(id: message.id, reason: "\(error)", sqlState: error.sqlState)
        } catch TransactionError.unknownOutcome(_, let reason) {
            throw .unknownOutcome(shard: shard, reason: reason)
        } catch {
            throw .unavailable(
                shard: shard, reason: "\(error)", retryAfter: Self.retryAfter)
        }
    }

    func elsewhere(_ room: RoomID) -> WriteError {
        .unavailable(
            shard: shard(of: room), reason: "the room is on its way to another shard",
            retryAfter: Self.retryAfter)
    }

    func shard(of room: RoomID) -> ShardID {
        router.route(room).shard ?? ShardID(0)
    }
}

/// What `shard.restore_message` and `shard.moderate` answer.
struct KeptRow: Sendable {
    let outcome: String
    private let seq: Int64?
    private let sentAt: Timestamp?
    private let receivedAt: Timestamp?
    private let event: String?
    private let deletedBy: Int64?

    init(_ row: Row) throws(PostgresError) {
        outcome = try row.get("outcome")
        seq = try row.get("seq")
        sentAt = try row.get("sent_at")
        receivedAt = try row.get("received_at")
        event = try row.get("event")
        deletedBy = try row.get("deleted_by")
    }

    /// `message` as the shard has it.
    func kept(_ message: Message) -> KeptMessage {
        var message = message
        message.sentAt = sentAt ?? message.sentAt
        message.receivedAt = receivedAt ?? message.receivedAt
        message.event = event ?? message.event
        if deletedBy != nil { message.text = "" }
        return KeptMessage(
            stored: StoredMessage(message: message, seq: seq ?? 0, deletedBy: deletedBy),
            isDuplicate: outcome == "duplicate")
    }
}
