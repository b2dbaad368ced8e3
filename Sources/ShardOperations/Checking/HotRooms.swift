import FoundationEssentials
import Postgres
public import ShardRouter

/// Finds the rooms and slots that are written most.
///
/// Two looks at the rooms' counters, compared where they are: only the hottest come over the wire.
/// Shards are asked beside each other.
public struct HotRooms: Sendable {
    /// A room or a slot, and what it costs.
    public struct Load: Sendable, Equatable {
        /// nil for a slot.
        public var room: String?
        public var slot: Slot
        /// The shard's name.
        public var shard: String
        /// Rooms of the slot; 1 for a room.
        public var rooms: Int
        public var messagesPerSecond: Double
        /// Of a room all rows in registered tables, counted; of a slot its messages.
        public var rows: Int
        /// Estimated by the average row, indexes included.
        public var bytes: Int
    }

    public struct Outcome: Sendable {
        /// Hottest first; among equals the biggest.
        public var rooms: [Load]
        public var slots: [Load]
        /// Shards that did not answer, by name, and why.
        public var away: [String: String]
    }

    let cluster: Cluster
    /// Between the two looks.
    let pause: Duration
    let top: Int
    /// Waits between the looks; tests write meanwhile.
    var wait: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }

    public init(cluster: Cluster, pause: Duration, top: Int) {
        precondition(pause > .zero && top > 0, "two looks, and something to see")
        self.cluster = cluster
        self.pause = pause
        self.top = top
    }

    public func run() async throws -> Outcome {
        let topology = try await cluster.topology()
        let shards = topology.shards.filter { $0.state == .active || $0.state == .draining }
        typealias Answer = (shard: String, part: Result<Part, any Error>)
        let answers = await withTaskGroup(of: Answer.self) { group in
            for shard in shards {
                group.addTask {
                    do {
                        return (shard.name, .success(try await look(at: shard, topology)))
                    } catch {
                        return (shard.name, .failure(error))
                    }
                }
            }
            return await group.reduce(into: [Answer]()) { $0.append($1) }
        }
        var outcome = Outcome(rooms: [], slots: [], away: [:])
        for answer in answers {
            switch answer.part {
            case .success(let part):
                outcome.rooms += part.rooms
                outcome.slots += part.slots
            case .failure(let error):
                outcome.away[answer.shard] = "\(error)"
            }
        }
        outcome.rooms = hottest(outcome.rooms)
        outcome.slots = hottest(outcome.slots)
        return outcome
    }

    private func hottest(_ loads: [Load]) -> [Load] {
        let sorted = loads.sorted { one, other in
            (other.messagesPerSecond, other.rows, one.slot, one.room ?? "")
                < (one.messagesPerSecond, one.rows, other.slot, other.room ?? "")
        }
        return Array(sorted.prefix(top))
    }

    /// What one shard found.
    private struct Part {
        var rooms: [Load]
        var slots: [Load]
    }

    private func look(at shard: Shard, _ topology: Topology) async throws -> Part {
        try await cluster.withShard(shard, of: topology) { connection in
            let deadline = ContinuousClock.now + pause + Cluster.patience
            try await connection.script(Self.firstLook, deadline: deadline)
            try await wait(pause)
            let answers = try await connection.pipeline(
                [
                    Statement(Self.secondLook, isPrepared: false),
                    Statement(Self.topRooms, [top], isPrepared: false),
                    Statement(Self.topSlots, [top], isPrepared: false),
                ], deadline: deadline)
            let sizes = try await Self.tables(connection, deadline)
            let messages = sizes.first { $0.name == "public.messages" }?.bytesPerRow ?? 0
            var part = Part(rooms: [], slots: [])
            for row in answers[1] {
                let room: String = try row.get("room_id")
                var load = try load(row, shard)
                load.room = room
                (load.rows, load.bytes) = try await Self.size(
                    of: room, sizes, connection, deadline)
                part.rooms.append(load)
            }
            for row in answers[2] {
                var load = try load(row, shard)
                load.bytes = Int(Double(load.rows) * messages)
                part.slots.append(load)
            }
            return part
        }
    }

    private func load(_ row: Row, _ shard: Shard) throws(PostgresError) -> Load {
        let seconds: Double = try row.get("seconds")
        let written: Int = try row.get("written")
        return Load(
            room: nil, slot: Slot(try row.get("slot")), shard: shard.name,
            rooms: try row.get("rooms"),
            messagesPerSecond: seconds > 0 ? Double(written) / seconds : 0,
            rows: try row.get("messages"), bytes: 0)
    }

    // MARK: - Sizes

    /// One registered table, as far as the planner's statistics know it.
    private struct TableSize {
        var name: String
        var bytesPerRow: Double
        /// Whether an index leads to the rows of a room.
        var isIndexed: Bool
    }

    private static func tables(
        _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws -> [TableSize] {
        let rows = try await connection.query(
            """
            select t.table_name,
                (case when c.reltuples > 0 then pg_total_relation_size(c.oid) / c.reltuples end)
                    ::float8,
                exists (select from pg_index i
                    join pg_attribute a on a.attrelid = c.oid and a.attname = 'room_id'
                    where i.indrelid = c.oid and i.indisvalid and i.indpred is null
                        and i.indkey[0] = a.attnum)
            from shard.tables t join pg_class c on c.oid = to_regclass(t.table_name)
            """, deadline: deadline)
        var tables: [TableSize] = []
        for row in rows {
            let name: String = try row.get(0)
            let known: Double? = try row.get(1)
            let bytesPerRow: Double
            if let known {
                bytesPerRow = known
            } else {
                // Nobody has analysed the table yet.
                bytesPerRow = try await connection.query(
                    Statement(
                        "select coalesce(avg(pg_column_size(t.*)), 0)::float8 "
                            + "from (select * from \(name) limit 1000) t", isPrepared: false),
                    deadline: deadline)[0].get(0)
            }
            tables.append(
                TableSize(name: name, bytesPerRow: bytesPerRow, isIndexed: try row.get(2)))
        }
        return tables
    }

    /// Rows counted by index; their bytes by the average of the table.
    private static func size(
        of room: String, _ tables: [TableSize], _ connection: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws -> (rows: Int, bytes: Int) {
        var (rows, bytes) = (0, 0.0)
        for table in tables where table.isIndexed {
            let count = try await connection.query(
                Statement(
                    "select count(*) from \(table.name) where room_id = $1", [room],
                    isPrepared: false), deadline: deadline)[0].get(0, as: Int.self)
            rows += count
            bytes += Double(count) * table.bytesPerRow
        }
        return (rows, Int(bytes))
    }

    // MARK: - Looks

    /// Of the rooms that live here; old copies stand still.
    private static let firstLook = """
        create temporary table hot_look on commit preserve rows as select clock_timestamp() as at;
        create temporary table hot_rooms on commit preserve rows as
        select r.room_id, r.head, clock_timestamp() as at
        from public.rooms r
        join shard.slots s on s.slot = shard.slot_of(r.room_id) and s.state in ('active', 'fenced')
        """

    /// A room that was not there at the first look is as old as that.
    private static let secondLook = """
        create temporary table hot_rooms_now on commit preserve rows as
        select r.room_id, s.slot, r.head as messages, r.head - coalesce(h.head, 0) as written,
            extract(epoch from clock_timestamp() - coalesce(h.at, f.at))::float8 as seconds
        from pg_temp.hot_look f
        cross join public.rooms r
        join shard.slots s on s.slot = shard.slot_of(r.room_id) and s.state in ('active', 'fenced')
        left join pg_temp.hot_rooms h on h.room_id = r.room_id
        """

    private static let topRooms = """
        select room_id, slot, 1 as rooms, written, seconds, messages from pg_temp.hot_rooms_now
        order by written desc, messages desc, room_id limit $1
        """

    private static let topSlots = """
        select slot, count(*) as rooms, sum(written)::int8 as written, max(seconds) as seconds,
            sum(messages)::int8 as messages
        from pg_temp.hot_rooms_now group by slot
        order by sum(written) desc, sum(messages) desc, slot limit $1
        """
}
