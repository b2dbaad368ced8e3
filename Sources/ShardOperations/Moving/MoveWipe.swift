import Postgres
import ShardRouter

/// Removes the rows of a move's slots from a shard that does not own them, a few at a time. Every
/// batch holds the slots' rows in the expected state by this move: a sleeper removes nothing that
/// belongs to a later one.
struct MoveWipe: Sendable {
    let move: Move
    let limits: MoveLimits
    /// `preparing` before a copy, `none` after an abort, `moved` for the purge of an old copy.
    let expected: String
    var afterBatch: @Sendable () async throws -> Void = {}
    /// Rests so long between batches.
    var pause = Duration.zero

    /// Removes everything.
    ///
    /// - Throws: ``MoveError/changed(step:)`` when the slots are in another state: then the rows are
    ///   somebody else's.
    func run(_ connection: PostgresConnection) async throws {
        let tables = try await MoveTable.read(connection, deadline: patience)
        for table in tables {
            if table.roomIndex == nil {
                while try await batch(table, where: move.rowFilter, [], connection) > 0 {}
                continue
            }
            while true {
                let rooms = try await MoveRooms(
                    table: table, slots: move.slots, seed: move.seed
                ).read(connection).rooms
                if rooms.isEmpty { break }
                for start in stride(from: 0, to: rooms.count, by: 100) {
                    let some = Array(rooms[start..<min(start + 100, rooms.count)])
                    while try await batch(
                        table, where: "t.room_id = any ($1::text[])", [some], connection) > 0
                    {}
                }
            }
        }
    }

    private var patience: ContinuousClock.Instant { .now + MoveLinks.patience }

    /// - Returns: how many rows were removed.
    private func batch(
        _ table: MoveTable, where condition: String, _ parameters: [any PostgresEncodable],
        _ connection: PostgresConnection
    ) async throws -> Int {
        let removed = try await connection.transaction(deadline: patience) {
            try await connection.step(
                "move_hold($1, $2::int8[]::int4[], $3)", [move.id, move.slots, expected],
                deadline: patience)
            // The rows live on elsewhere: no triggers, no foreign keys.
            _ = try await connection.query(
                "set local session_replication_role = replica", deadline: patience)
            return try await connection.query(
                Statement(
                    """
                    delete from \(table.name) where ctid = any (array(
                        select t.ctid from \(table.name) t where \(condition)
                        limit \(limits.rowsPerPurge)))
                    """, parameters, isPrepared: false), deadline: .now + .seconds(600)
            ).affectedRows
        }
        if removed > 0 {
            try await afterBatch()
            if pause > .zero { try await Task.sleep(for: pause) }
        }
        return removed
    }
}
