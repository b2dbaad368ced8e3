import BenchKit
import Postgres

/// Rooms whose sizes follow Zipf's law with exponent 1, and their messages of 118 bytes.
struct DataSet: Sendable {
    var rows: Int
    var rooms: Int
    /// Only rooms of these slots; nil: of all that the shard owns.
    var slots: [Int]?

    /// The names of the rooms: 36 bytes, as a UUID in text has. From 1.
    static func roomName(_ number: Int) -> String {
        let digits = String(number)
        return "room-" + String(repeating: "0", count: 31 - digits.count) + digits
    }

    /// The same names in SQL, for `i`.
    private static let roomNameSQL = "'room-' || lpad(i::text, 31, '0')"

    /// Fills one shard with its part: as much as it owns of a set whose sizes are the same whoever
    /// owns what. With ``slots`` the whole set is there.
    ///
    /// - Returns: how many messages there are now.
    @discardableResult
    func fill(_ place: BenchCluster.Place) async throws -> Int {
        let chosen =
            slots.map { "shard.slot_of(room) in (\($0.map(String.init).joined(separator: ",")))" }
            ?? "true"
        let sql = """
            set synchronous_commit = off;
            create temporary table sized as
            with named as (select i, \(Self.roomNameSQL) as room from generate_series(1, \(rooms)) i),
                chosen as (select room, row_number() over (order by i) as rank
                    from named where \(chosen)),
                total as (select sum(1.0 / rank) as weight from chosen)
            select room, greatest(1, (\(rows) / (rank * total.weight))::int) as count
            from chosen, total;
            delete from sized where not exists (
                select from shard.slots s
                where s.slot = shard.slot_of(room) and s.state = 'active');
            analyze sized;
            insert into public.rooms (room_id, head) select room, count from sized order by room;
            insert into public.messages
            select room, seq, gen_random_uuid(), 'somebody', now(), now(),
                rpad(md5(room || seq), 118, 'x')
            from (select * from sized order by room) s, generate_series(1, count) seq;
            drop table sized;
            """
        return try await withDatabase(place.connectionString) { connection in
            try await connection.script(sql, deadline: .now + .seconds(1_800))
            return try await connection.query(
                "select count(*) from public.messages", deadline: .now + .seconds(600))[0].get(0)
        }
    }
}
