import Postgres
import ShardRouter

/// Step 0: everything that would stop a move is found before its first byte.
struct MovePreflight: Sendable {
    /// A transaction that has written and is older than this would hold the move up.
    private static let longTransaction = 5

    /// What stands in the way, and what to do about it.
    struct Blocker: Sendable, Equatable {
        var what: String
        var remedy: String
    }

    let cluster: Cluster
    let topology: Topology
    let source: Shard
    let target: Shard
    let slots: [Int]

    /// - Returns: warnings.
    /// - Throws: a refusal that names every blocker.
    func run() async throws -> [String] {
        let (one, other) = try await (
            cluster.withShard(source, of: topology) { try await look($0, source, isTarget: false) },
            cluster.withShard(target, of: topology) { try await look($0, target, isTarget: true) }
        )
        var blockers = one.blockers + other.blockers + Self.differences(one, other)
        blockers += lacks(one, other)
        if blockers.isEmpty, let unreachable = try await unreachableSource() {
            blockers.append(unreachable)
        }
        guard blockers.isEmpty else {
            let list = blockers.map { "\n  - \($0.what): \($0.remedy)" }.joined()
            throw OperationError.refused(
                "slots \(Move.ranges(slots)) cannot move from \(source.name) to \(target.name):"
                    + list,
                next: "mend these, then repeat")
        }
        let unknownDisk =
            other.freeBytes == nil ? ["\(target.name): its free disk is not known"] : []
        return one.warnings + other.warnings + unknownDisk
    }

    private struct Side {
        var name: String
        var blockers: [Blocker] = []
        var warnings: [String] = []
        var tables: [MoveTable] = []
        var schema: [Int32] = []
        /// Roles that log in and may use what applications may.
        var applications: [String] = []
        /// Of the registered tables with their indexes, and of the disk; nil where it is not known.
        var bytes: Int64 = 0
        var freeBytes: Int64?
    }

    private func look(
        _ connection: PostgresConnection, _ shard: Shard, isTarget: Bool
    ) async throws -> Side {
        let deadline = ContinuousClock.now + MoveLinks.patience
        var side = Side(name: shard.name)
        side.tables = try await MoveTable.read(connection, deadline: deadline)
        side.schema = try await connection.query(
            "select coalesce(array_agg(version order by version), '{}') from shard.migrations",
            deadline: deadline)[0].get(0)
        side.applications = try await connection.query(
            Self.applicationRoles, deadline: deadline)[0].get(0)
        side.bytes = try await connection.query(
            """
            select coalesce(sum(pg_total_relation_size(table_name::regclass)), 0)::int8
            from shard.tables
            """, deadline: deadline)[0].get(0)
        if isTarget { side.freeBytes = try await Self.freeBytes(connection) }
        func block(_ what: String, _ remedy: String) {
            side.blockers.append(Blocker(what: "\(shard.name): \(what)", remedy: remedy))
        }
        let row = try await connection.query(
            isTarget ? Self.targetSettings : Self.sourceSettings, deadline: deadline)[0]
        for (index, column) in row.columnNames.enumerated() where column.hasPrefix("!") {
            guard let problem: String = try row.get(index) else { continue }
            let parts = problem.split(separator: "|", maxSplits: 1).map(String.init)
            block(parts[0], parts.count > 1 ? parts[1] : "ask the server's operator")
        }
        for row in try await connection.query(Self.tableProblems, deadline: deadline) {
            let (problem, isBlocking): (String, Bool) = (try row.get(0), try row.get(1))
            if isBlocking {
                block(problem, try row.get(2))
            } else {
                side.warnings.append("\(shard.name): \(problem)")
            }
        }
        if !isTarget, let writer = try await Self.oldestWriter(connection) {
            block(writer, "wait for it, or end it: select pg_terminate_backend(PID)")
        }
        let wrong = try await connection.query(
            isTarget
                ? "select count(*) from shard.slots where slot = any ($1::int8[]::int4[]) "
                    + "and state not in ('none', 'moved')"
                : "select count(*) from shard.slots where slot = any ($1::int8[]::int4[]) "
                    + "and state <> 'active'", [slots], deadline: deadline)[0].get(0, as: Int.self)
        if wrong > 0 {
            block(
                isTarget
                    ? "\(wrong) of the slots are owned or being moved there already"
                    : "\(wrong) of the slots are not active there", "shardctl doctor")
        }
        return side
    }

    private static func differences(_ one: Side, _ other: Side) -> [Blocker] {
        var blockers: [Blocker] = []
        if one.schema != other.schema {
            blockers.append(
                Blocker(
                    what: "\(one.name) and \(other.name) have different schemas",
                    remedy: "shardctl migrate up"))
        }
        for table in one.tables {
            guard let same = other.tables.first(where: { $0.name == table.name }) else {
                blockers.append(
                    Blocker(
                        what: "\(other.name): table \(table.name) is missing or not registered",
                        remedy: "select shard.register_table('\(table.name)')"))
                continue
            }
            if same.columns != table.columns || same.key != table.key {
                blockers.append(
                    Blocker(
                        what: "table \(table.name) has other columns, or another replica identity, "
                            + "at \(other.name) than at \(one.name)",
                        remedy: "shardctl migrate status"))
            }
        }
        return blockers
    }

    /// What the target needs beside the same tables: room, and the applications' roles.
    private func lacks(_ one: Side, _ other: Side) -> [Blocker] {
        var blockers = one.applications.filter { !other.applications.contains($0) }.map {
            Blocker(
                what:
                    "\(other.name): role \($0), by which applications use \(one.name), is missing",
                remedy: "create role \(sqlName($0)) login in role chat_app")
        }
        let owned = max(1, topology.slotCounts[source.id] ?? 1)
        // The copy, and half as much again for its log and for what is written meanwhile.
        let needed = one.bytes / Int64(owned) * Int64(slots.count) * 3 / 2
        if let free = other.freeBytes, free < needed {
            blockers.append(
                Blocker(
                    what: "\(other.name): \(free >> 20) MiB are free, and the copy needs about "
                        + "\(needed >> 20) MiB",
                    remedy: "make room, or move fewer slots at once"))
        }
        return blockers
    }

    /// As the server's own `df` says; nil where it may not be run, or says nothing that is understood.
    private static func freeBytes(_ connection: PostgresConnection) async throws -> Int64? {
        let deadline = ContinuousClock.now + MoveLinks.patience
        do {
            return try await connection.transaction(deadline: deadline) {
                try await connection.script(
                    """
                    create temp table move_disk (free text) on commit drop;
                    copy move_disk from program 'df --output=avail -B1 . | tail -n 1'
                    """, deadline: deadline)
                let text: String = try await connection.query(
                    Statement("select free from move_disk", isPrepared: false), deadline: deadline
                )[0].get(0)
                return Int64(text.filter(\.isNumber))
            }
        } catch PostgresError.server {
            return nil  // No shell, no df, or a server that forbids it: the disk stays unknown.
        }
    }

    private static let applicationRoles = """
        select coalesce(array_agg(m.rolname::text order by m.rolname), '{}')
        from pg_auth_members a
        join pg_roles r on r.oid = a.roleid join pg_roles m on m.oid = a.member
        where r.rolname = 'chat_app' and m.rolcanlogin
        """

    /// Whether the target's server reaches the source's, with its own credentials: a subscription to
    /// nothing is made and rolled back.
    private func unreachableSource() async throws -> Blocker? {
        var settings = try cluster.settings(endpoint: source.endpoint).findingPrimary
        settings["application_name"] = nil
        settings["connect_timeout"] = settings["connect_timeout"] ?? "3"
        let address = settings.withoutSecrets
        return try await cluster.withShard(target, of: topology) { connection in
            do throws(PostgresError) {
                try await connection.script(
                    """
                    begin;
                    set local client_min_messages = error;
                    create subscription mv_preflight connection \(literal(address))
                        publication mv_preflight
                        with (create_slot = false, slot_name = none, copy_data = false,
                            enabled = false);
                    rollback
                    """, deadline: .now + MoveLinks.patience)
                return nil
            } catch {
                return Blocker(
                    what: "the server of \(target.name) cannot subscribe to \(source.name) at "
                        + "\(address): \(error)",
                    remedy: "let it in there (pg_hba.conf; its own .pgpass for a password)")
            }
        }
    }

    /// The oldest transaction that has written something: the creation of a replication slot waits
    /// for all of them, in every database of the server.
    static func oldestWriter(_ connection: PostgresConnection) async throws -> String? {
        let rows = try await connection.query(
            """
            select format('process %s (%s%s) has had a transaction open for %s s', pid,
                coalesce(nullif(application_name, ''), backend_type), ', ' || state,
                extract(epoch from clock_timestamp() - xact_start)::int8)
            from pg_stat_activity
            where backend_xid is not null and pid <> pg_backend_pid()
                and xact_start < clock_timestamp() - make_interval(secs => $1::int8::float8)
            union all
            select format('the prepared transaction %L is open since %s', gid,
                to_char(prepared, 'YYYY-MM-DD HH24:MI:SS'))
            from pg_prepared_xacts
            limit 1
            """, [longTransaction], deadline: .now + MoveLinks.patience)
        return try rows.first?.get(0)
    }

    /// Columns whose names begin with `!` hold a problem and its remedy, or NULL.
    private static let common = """
        case when current_setting('is_superuser') <> 'on' then
            'this role is no superuser, and PostgreSQL lets no other make subscriptions'
            '|connect as a superuser (--catalog ''… user=postgres'')' end as "!role",
        case when pg_is_in_recovery() then
            'it is a standby|name the primary in its endpoint: shardctl shard set' end as "!standby"
        """

    private static let sourceSettings = """
        select \(common),
            case when current_setting('wal_level') <> 'logical' then
                'wal_level is ' || current_setting('wal_level')
                || '|alter system set wal_level = logical, then restart it' end as "!wal",
            case when current_setting('max_replication_slots')::int
                - (select count(*) from pg_replication_slots) < 2 then
                'fewer than two replication slots are free'
                '|raise max_replication_slots, or drop what nobody uses: shardctl doctor'
                end as "!slots",
            case when current_setting('max_wal_senders')::int
                - (select count(*) from pg_stat_replication) < 3 then
                'fewer than three WAL senders are free|raise max_wal_senders' end as "!senders",
            case when current_setting('max_slot_wal_keep_size') = '-1' then
                'max_slot_wal_keep_size is unlimited: a move that nobody ends could fill its disk'
                '|alter system set max_slot_wal_keep_size = ''8GB''; select pg_reload_conf()'
                end as "!keep"
        """

    private static let targetSettings = """
        select \(common),
            case when current_setting('max_replication_slots')::int
                - (select count(*) from pg_replication_origin) < 1 then
                'no replication origin is free|raise max_replication_slots' end as "!origins",
            case when current_setting('max_logical_replication_workers')::int
                - (select count(*) from pg_stat_activity
                    where backend_type = 'logical replication worker') < 1 then
                'no logical replication worker is free|raise max_logical_replication_workers'
                end as "!workers"
        """

    private static let tableProblems = """
        select format('table %s has no replica identity that contains room_id', r.table_name), true,
            'alter table … replica identity using index …'
        from shard.tables r join pg_class c on c.oid = r.table_name::regclass
        where c.relreplident = 'n' or c.relreplident in ('d', 'i') and not exists (
            select from pg_index i join pg_attribute a
                on a.attrelid = c.oid and a.attnum = any (i.indkey) and a.attname = 'room_id'
            where i.indrelid = c.oid and (c.relreplident = 'd' and i.indisprimary
                or c.relreplident = 'i' and i.indisreplident))
        union all
        select format('table %s refers to %s and would lose its rows: it is not registered',
            k.conrelid::regclass, k.confrelid::regclass), true,
            format('select shard.register_table(%L)', k.conrelid::regclass)
        from pg_constraint k
        where k.contype = 'f'
            and k.confrelid in (select r.table_name::regclass from shard.tables r)
            and k.conrelid not in (select r.table_name::regclass from shard.tables r)
        union all
        select format('column %s of table %s draws from a sequence and is unique: the new owner '
            'would draw the same numbers', quote_ident(a.attname), r.table_name), true,
            'use a UUID, or a number that the application gives'
        from shard.tables r
        join pg_attribute a on a.attrelid = r.table_name::regclass and a.attnum > 0
            and not a.attisdropped
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where (a.attidentity <> '' or pg_get_expr(d.adbin, d.adrelid) like 'nextval(%')
            and exists (select from pg_index i where i.indrelid = a.attrelid and i.indisunique
                and a.attnum = any (i.indkey))
        union all
        select format('column %s of table %s has the type %s, whose binary form names numbers of '
            'this database alone', quote_ident(a.attname), r.table_name,
            format_type(a.atttypid, a.atttypmod)), true, 'use text, jsonb or an array of texts'
        from shard.tables r
        join pg_attribute a on a.attrelid = r.table_name::regclass and a.attnum > 0
            and not a.attisdropped
        join pg_type t on t.oid = a.atttypid
        where t.typtype = 'c' or t.typelem >= 16384
        union all
        select format('table %s is unlogged: its changes would not arrive', r.table_name), true,
            format('alter table %s set logged', r.table_name)
        from shard.tables r join pg_class c on c.oid = r.table_name::regclass
        where c.relpersistence <> 'p'
        union all
        select format('table %I.%I has a room_id but is not registered: its rows stay behind',
            n.nspname, c.relname), false, ''
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'room_id' and a.attnum > 0
        where c.relkind in ('r', 'p') and n.nspname not in ('shard', 'pg_catalog')
            and n.nspname not like 'pg\\_%'
            and c.oid not in (select r.table_name::regclass from shard.tables r)
        union all
        select format('table %s has no index that begins with room_id: every move reads all of it',
            r.table_name), false, ''
        from shard.tables r
        where not exists (
            select from pg_index i join pg_attribute a
                on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = 'room_id'
            where i.indrelid = r.table_name::regclass and i.indisvalid)
        """
}
