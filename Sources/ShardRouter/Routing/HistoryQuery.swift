import Postgres

/// The one statement that reads a page of a room together with the shard's ownership of it.
struct HistoryQuery: Sendable {
    let room: RoomID
    let before: Int64?
    let after: Int64?
    let limit: Int

    /// The places of the columns in ``statement``: looking a name up costs more than reading a value.
    private enum Column {
        static let (head, seq, id, author) = (3, 4, 5, 6)
        static let (sentAt, receivedAt, body) = (7, 8, 9)
        static let (event, deletedBy) = (10, 11)
    }

    private static let columns = """
        select s.state, s.moved_to, s.epoch, coalesce(r.head, 0) as head,
            m.seq, m.id, m.author, m.sent_at, m.received_at, m.body, m.event, m.deleted_by
        from shard.slots s
        left join public.rooms r on s.state = 'active' and r.room_id = $1
        left join lateral (
        """

    var statement: Statement {
        if let after, before == nil {
            let page = """
                select * from public.messages where room_id = $1 and seq > $2
                order by seq limit $3
                """
            return statement(page, after)
        }
        let page = """
            select * from public.messages where room_id = $1 and seq < $2
            order by seq desc limit $3
            """
        return statement(page, before ?? .max)
    }

    private func statement(_ page: String, _ border: Int64) -> Statement {
        Statement(
            Self.columns + page
                + ") m on s.state = 'active' where s.slot = shard.slot_of($1) order by m.seq",
            [room.text, border, limit])
    }

    func page(_ rows: Rows) throws(PostgresError) -> OwnerAnswer<HistoryPage> {
        let answer = try SlotAnswer(rows)
        guard answer.state == "active" else { return .elsewhere(answer) }
        let head: Int64 = try rows[0].get(Column.head)
        var messages: [StoredMessage] = []
        messages.reserveCapacity(rows.count)
        for row in rows {
            guard let seq: Int64 = try row.get(Column.seq, as: Int64?.self) else { continue }
            let message = Message(
                id: try row.get(Column.id), room: room, author: try row.get(Column.author),
                sentAt: try row.get(Column.sentAt), receivedAt: try row.get(Column.receivedAt),
                text: try row.get(Column.body), event: try row.get(Column.event))
            messages.append(
                StoredMessage(
                    message: message, seq: seq, deletedBy: try row.get(Column.deletedBy)))
        }
        let isComplete =
            if after != nil, before == nil {
                (messages.last?.seq ?? head) >= head
            } else {
                (messages.first?.seq ?? 1) <= 1
            }
        return .done(HistoryPage(messages: messages, isComplete: isComplete, head: head))
    }
}
