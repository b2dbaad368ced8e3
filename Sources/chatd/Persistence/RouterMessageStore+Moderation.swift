import FoundationEssentials
import Postgres
import ShardRouter

extension RouterMessageStore {
    func moderate(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> ModerationOutcome {
        let row = try await row(
            for: message, patience: patience,
            "select *, null::bigint as deleted_by from shard.moderate($1, $2, $3, $4, $5, $6)",
            [
                message.room.text, message.id, message.author, message.sentAt,
                message.receivedAt, message.event,
            ])
        switch row.outcome {
        case "stored", "duplicate": return .done(row.kept(message))
        case "unknown": return .unknownMessage
        case "conflict": throw .conflict(id: message.id)
        default: throw elsewhere(message.room)
        }
    }

    func sanctions(
        of room: RoomID, patience: Duration
    ) async throws(ReadError) -> Sanctions {
        do {
            return try await router.read(for: room, patience: patience) { shard in
                let rows = try await shard.query(
                    """
                    select kind, subject, until, seq from public.moderation
                    where room_id = $1 and kind in ('mute', 'bar')
                        and (until is null or until > now())
                    order by seq desc limit $2
                    """, [room.text, Sanctions.readAtMost])
                var sanctions = Sanctions()
                for row in rows {
                    let user: String = try row.get(1)
                    let sanction = Sanctions.Sanction(until: try row.get(2), seq: try row.get(3))
                    switch try row.get(0) as String {
                    case "mute": sanctions.addMute(of: user, sanction)
                    default: sanctions.addBar(of: user, sanction)
                    }
                }
                return sanctions
            }
        } catch {
            throw .unavailable(shard: shard(of: room), reason: "\(error)")
        }
    }
}
