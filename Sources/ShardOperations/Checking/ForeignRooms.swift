import Postgres

/// Looks for rows of rooms that do not live on a shard: by leaps over the index from room to room,
/// so that it costs by the room and not by the row.
struct ForeignRooms: Sendable {
    /// Rooms of one slot in one table, where the shard's own table says that it is not the owner.
    struct Find: Sendable {
        var table: String
        var slot: Int
        /// `none`, `preparing`, `importing` or `moved`.
        var state: String
        var move: Int?
    }

    /// The rooms of one table that are looked at; of more the ones behind a room drawn by `seed`.
    static let sample = 20_000

    /// Draws where the sample of a big table begins; the same seed draws the same room.
    var seed: Int

    /// Runs in the transaction that is open, which it makes prefer indexes.
    func find(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Find] {
        let tables = try await connection.query(
            """
            select t.table_name, c.reltuples > $1,
                exists (select from pg_index i
                    where i.indrelid = c.oid and i.indisvalid and i.indpred is null
                        and i.indkey[0] = a.attnum)
            from shard.tables t
            join pg_class c on c.oid = to_regclass(t.table_name)
            join pg_attribute a on a.attrelid = c.oid and a.attname = 'room_id'
                and not a.attisdropped and a.atttypid = 'text'::regtype
            order by 1
            """, [Double(Self.sample)], deadline: deadline)
        var finds: [Find] = []
        for table in tables {
            let name: String = try table.get(0)
            let rooms =
                try table.get(2)
                ? leaps(name, isBig: try table.get(1))
                : "select distinct room_id from (select room_id from \(name) "
                    + "limit \(Self.sample)) t"
            let answers = try await connection.pipeline(
                [
                    // Plans without sequential scans look costly enough to be compiled, each call
                    // of a function anew.
                    Statement("set local jit = off"),
                    Statement("set local enable_seqscan = off"),
                    Statement(
                        """
                        with recursive \(rooms.hasPrefix("leapt") ? rooms : "looked as (\(rooms))")
                        select x.slot, s.state, s.move_id
                        from (select distinct shard.slot_of(room_id) as slot from looked) x
                        join shard.slots s on s.slot = x.slot
                        where s.state not in ('active', 'fenced')
                        order by x.slot
                        """, isPrepared: false),
                    Statement("set local enable_seqscan = on"),
                ], deadline: deadline)
            for row in answers[2] {
                finds.append(
                    Find(
                        table: name, slot: try row.get(0), state: try row.get(1),
                        move: try row.get(2)))
            }
        }
        return finds
    }

    private func leaps(_ table: String, isBig: Bool) -> String {
        let start =
            isBig
            ? "coalesce((select d.room_id from \(table) d tablesample system (1) "
                + "repeatable (\(seed)) limit 1), '')" : "''"
        return """
            leapt (room_id) as (
                (select t.room_id from \(table) t where t.room_id >= \(start)
                 order by t.room_id limit 1)
                union all
                select (select t.room_id from \(table) t where t.room_id > l.room_id
                        order by t.room_id limit 1)
                from leapt l where l.room_id is not null
            ),
            looked as materialized (
                select room_id from leapt where room_id is not null limit \(Self.sample)
            )
            """
    }
}
