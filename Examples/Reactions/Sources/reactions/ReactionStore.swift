import Foundation
import Postgres
import ShardRouter

/// Reactions to messages, in a sharded table of our own.
struct ReactionStore {
    let router: ShardRouter
    /// The longest that anything may take.
    var patience = Duration.seconds(5)

    /// Adds a reaction and counts it, both or neither. Adding the same one again changes nothing.
    ///
    /// - Returns: whether it is new.
    func add(_ emoji: String, to message: UUID, by author: String, in room: RoomID) async throws
        -> Bool
    {
        // The transaction runs on the shard that owns the room and proves that it does; the room
        // cannot change its shard before the end.
        try await router.withTransaction(for: room, patience: patience) { transaction in
            let added = try await transaction.query(
                """
                insert into reactions (room_id, message_id, author, emoji)
                values ($1, $2, $3, $4) on conflict do nothing
                """, [room.text, message, author, emoji])
            guard added.affectedRows == 1 else { return false }
            _ = try await transaction.query(
                """
                insert into reaction_totals as t (room_id, emoji, total) values ($1, $2, 1)
                on conflict (room_id, emoji) do update set total = t.total + 1
                """, [room.text, emoji])
            return true
        }
    }

    /// How often each reaction was given in `room`, the most frequent first.
    func totals(in room: RoomID) async throws -> [(emoji: String, total: Int)] {
        try await router.read(for: room, patience: patience) { snapshot in
            let rows = try await snapshot.query(
                "select emoji, total from reaction_totals where room_id = $1 order by 2 desc, 1",
                [room.text])
            return try rows.map { (try $0.get("emoji"), try $0.get("total")) }
        }
    }

    /// How many reactions there are in all rooms: the rare question to every shard.
    func count() async throws -> Int {
        let answers = await router.forEachShard(patience: patience) { _, shard in
            try await shard.query("select count(*) from reactions")[0].get(0, as: Int.self)
        }
        return try answers.reduce(0) { try $0 + $1.outcome.get() }
    }
}
