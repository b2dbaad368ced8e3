import Postgres

/// What a move finds at its two shards: all that is decided is decided by this.
struct MoveSight: Sendable, Equatable {
    /// The rows of the move's slots at the target; all of them are in the same state, since every
    /// step changes all of them.
    enum Target: Sendable, Equatable {
        /// The move has not arrived here, and may.
        case clear
        case preparing
        case importing(attempt: Int)
        case active
        /// The tombstone of an abort.
        case barred
        case other(String)
    }

    enum Source: Sendable, Equatable {
        /// Active, and the move may fence it.
        case owning
        case fenced(attempt: Int, age: Duration)
        case moved
        /// Active, and closed to this move: it was aborted.
        case barred
        case other(String)
    }

    enum Subscription: Sendable, Equatable {
        case missing, stopped, running
    }

    enum ReplicationSlot: Sendable, Equatable {
        case missing, lost
        /// Holds back this much of the source's log, in bytes.
        case usable(heldBytes: Int64)
    }

    var target: Target
    var source: Source
    var subscription: Subscription
    var replicationSlot: ReplicationSlot

    static func read(
        _ move: Move, source: PostgresConnection, target: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws -> MoveSight {
        let atTarget = try await target.pipeline(
            [
                Statement(targetStates, [move.id, move.slots]),
                Statement(
                    """
                    select subenabled and subslotname is not null from pg_subscription s
                    join pg_database d on d.oid = s.subdbid
                    where subname = $1 and datname = current_database()
                    """, [move.name]),
            ], deadline: deadline)
        let atSource = try await source.pipeline(
            [
                Statement(sourceStates, [move.id, move.slots, move.epochs]),
                Statement(
                    """
                    select coalesce(wal_status, 'lost') = 'lost' or $2 is not null and $2 <>
                            ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4,
                        coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8
                    from pg_replication_slots where slot_name = $1
                    """, [move.name, move.sourceTimeline.map { Int32($0) }]),
            ], deadline: deadline)
        let isRunning: Bool? = try atTarget[1].first?.get(0)
        return MoveSight(
            target: try targetState(atTarget[0]), source: try sourceState(atSource[0]),
            subscription: isRunning.map { $0 ? .running : .stopped } ?? .missing,
            replicationSlot: try replicationSlot(atSource[1]))
    }

    private static let targetStates = """
        select case
                when state in ('none', 'moved') and barred < $1 then 'clear'
                when state = 'none' and move_id = $1 and barred >= $1 then 'barred'
                when state in ('preparing', 'importing', 'active') and move_id = $1 then state
                else state || ' by move ' || coalesce(move_id::text, '-') || ', barred up to '
                    || barred
            end as state,
            case when state = 'importing' then attempt else 0 end as attempt, count(*) as slots
        from shard.slots where slot = any ($2::int8[]::int4[]) group by 1, 2 order by 3 desc
        """

    private static let sourceStates = """
        select case
                when state = 'active' and barred < $1 and s.epoch = u.epoch then 'owning'
                when state = 'active' and barred >= $1 then 'barred'
                when state in ('fenced', 'moved') and move_id = $1 then state
                else state || ' by move ' || coalesce(move_id::text, '-') || ', barred up to '
                    || barred
            end as state,
            case when state = 'fenced' then attempt else 0 end as attempt,
            coalesce(extract(epoch from clock_timestamp() - min(fenced_at)), 0)::float8 as age,
            count(*) as slots
        from shard.slots s join unnest($2::int8[], $3::int8[]) as u (slot, epoch)
            on s.slot = u.slot
        group by 1, 2 order by 4 desc
        """

    private static func targetState(_ rows: Rows) throws -> Target {
        guard let row = rows.first else { return .other("no rows for the slots") }
        guard rows.count == 1 else { return .other(try mixture(rows)) }
        let attempt: Int = try row.get("attempt")
        switch try row.get("state", as: String.self) {
        case "clear": return .clear
        case "preparing": return .preparing
        case "importing": return .importing(attempt: attempt)
        case "active": return .active
        case "barred": return .barred
        case let other: return .other(other)
        }
    }

    private static func sourceState(_ rows: Rows) throws -> Source {
        guard let row = rows.first else { return .other("no rows for the slots") }
        guard rows.count == 1 else { return .other(try mixture(rows)) }
        let attempt: Int = try row.get("attempt")
        switch try row.get("state", as: String.self) {
        case "owning": return .owning
        case "fenced":
            return .fenced(attempt: attempt, age: .seconds(try row.get("age", as: Double.self)))
        case "moved": return .moved
        case "barred": return .barred
        case let other: return .other(other)
        }
    }

    private static func mixture(_ rows: Rows) throws -> String {
        try rows.map { row in
            "\(try row.get("slots", as: Int.self)) slots \(try row.get("state", as: String.self))"
        }.joined(separator: ", ")
    }

    private static func replicationSlot(_ rows: Rows) throws -> ReplicationSlot {
        guard let row = rows.first else { return .missing }
        return try row.get(0, as: Bool.self) ? .lost : .usable(heldBytes: try row.get(1))
    }
}
