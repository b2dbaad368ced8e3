import Postgres

/// A batch as the columns that a shard takes: rooms in the order of their bytes, and for each
/// message its room's position and its place among those of its room.
struct BatchColumns {
    let entries: ArraySlice<PendingWrite>
    private(set) var rooms: [RoomID] = []
    private(set) var counts: [Int32] = []
    /// From 1, as PostgreSQL counts.
    private(set) var roomOf: [Int32]
    /// From 1.
    private(set) var places: [Int32]

    /// - Parameter entries: the messages of one room stand together.
    init(_ entries: ArraySlice<PendingWrite>) {
        self.entries = entries
        var runs: [(room: RoomID, range: Range<Int>)] = []
        for (index, entry) in entries.enumerated() {
            if let last = runs.last, last.room == entry.message.room {
                runs[runs.count - 1].range = last.range.lowerBound..<index + 1
            } else {
                runs.append((entry.message.room, index..<index + 1))
            }
        }
        runs.sort { $0.room < $1.room }
        roomOf = Array(repeating: 0, count: entries.count)
        places = roomOf
        for run in runs {
            if rooms.last != run.room {
                rooms.append(run.room)
                counts.append(0)
            }
            for index in run.range {
                counts[counts.count - 1] += 1
                roomOf[index] = Int32(rooms.count)
                places[index] = counts[counts.count - 1]
            }
        }
    }

    /// The number that the message at `index` gets when its room had the head that is in `heads`.
    func seq(_ index: Int, heads: [Int64]) -> Int64 {
        heads[Int(roomOf[index]) - 1] + Int64(places[index])
    }

    /// Calls `shard.append_new`.
    var shortStatement: Statement {
        let rooms = ArrayOf(rooms) { $0.text }
        return Statement(
            "select shard.append_new($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            [rooms, counts, roomOf, places] + messageColumns)
    }

    /// Calls `shard.append_one` with the only message.
    var singleStatement: Statement {
        let message = entries[entries.startIndex].message
        return Statement(
            "select shard.append_one($1, $2, $3, $4, $5, $6)",
            [
                message.room.text, message.id, message.author, message.sentAt, message.receivedAt,
                message.text,
            ])
    }

    /// Calls `shard.append_messages`.
    var longStatement: Statement {
        Statement(
            """
            select outcome, seq, sent_at, received_at, slot_state, moved_to, slot_epoch
            from shard.append_messages($1, $2, $3, $4, $5, $6)
            """, messageColumns)
    }

    private var messageColumns: [any PostgresEncodable] {
        [
            ArrayOf(entries) { $0.message.room.text }, ArrayOf(entries) { $0.message.id },
            ArrayOf(entries) { $0.message.author }, ArrayOf(entries) { $0.message.sentAt },
            ArrayOf(entries) { $0.message.receivedAt }, ArrayOf(entries) { $0.message.text },
        ]
    }
}
