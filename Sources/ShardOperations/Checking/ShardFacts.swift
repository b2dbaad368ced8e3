import FoundationEssentials
import Postgres
import ShardRouter

/// What one look at a shard saw.
enum ShardAnswer: Sendable {
    /// It does not answer, or not in time.
    case away(String)
    /// Another database answers.
    case stranger(String)
    /// It is being added, and not ready yet.
    case unfinished
    case facts(ShardFacts)
}

/// What a shard says about itself.
struct ShardFacts: Sendable {
    /// A slot that is, or was, touched by ownership or by a move.
    struct SlotRow: Sendable {
        var slot: Int
        var state: String
        var move: Int?
        var movedTo: Int?
        var epoch: Int64
        /// How long writers wait there, by the shard's own clock.
        var fencedFor: Duration?
    }

    /// A replication slot, publication or subscription, named after a move.
    struct Artefact: Sendable {
        var name: String
        /// nil when the name is no name of ours.
        var move: Int?
        /// Made to verify, and not to move.
        var isForVerifying: Bool
    }

    struct ReplicationSlot: Sendable {
        var artefact: Artefact
        var isActive: Bool
        /// `reserved`, `extended`, `unreserved` or `lost`.
        var walStatus: String
        /// How much log the server keeps for it, in bytes.
        var heldBytes: Int
    }

    struct Subscription: Sendable {
        var artefact: Artefact
        var isEnabled: Bool
        var applyErrors: Int
    }

    struct PreparedTransaction: Sendable {
        var name: String
        var database: String
        var ageSeconds: Int
    }

    /// The versions of its migrations.
    var schema: [Int] = []
    var slots: [Int: SlotRow] = [:]
    var replicationSlots: [ReplicationSlot] = []
    var publications: [Artefact] = []
    var subscriptions: [Subscription] = []
    var prepared: [PreparedTransaction] = []
    var tables: [TableChecks.Problem] = []
    var foreign: [ForeignRooms.Find] = []
    var server: [ServerChecks.Finding] = []

    /// The state of `slot`; a row that says nothing is not kept.
    func state(_ slot: Int) -> String { slots[slot]?.state ?? "none" }
}

/// Reads a shard, in one snapshot that cannot write.
struct ShardReader: Sendable {
    let cluster: Cluster
    let topology: Topology
    let foreign: ForeignRooms
    let patience: Duration

    func read(_ shard: Shard) async -> ShardAnswer {
        do {
            return try await cluster.withShard(endpoint: shard.endpoint, name: shard.name) {
                connection in
                let deadline = ContinuousClock.now + patience
                if let answer = try await identify(connection, shard, deadline) { return answer }
                return .facts(try await facts(connection, deadline))
            }
        } catch {
            return .away("\(error)")
        }
    }

    private func identify(
        _ connection: PostgresConnection, _ shard: Shard, _ deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> ShardAnswer? {
        let isShard = try await connection.query(
            "select to_regclass('shard.identity') is not null", deadline: deadline)[0]
            .get(0, as: Bool.self)
        let identity =
            isShard
            ? try await connection.query(
                "select cluster_id, shard_id from shard.identity", deadline: deadline
            ).first : nil
        guard let identity else {
            return shard.state == .joining
                ? .unfinished : .stranger(isShard ? "a shard without identity" : "no shard")
        }
        return try Cluster.difference(identity, shard, topology).map { .stranger($0) }
    }

    private func facts(
        _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> ShardFacts {
        let prefix =
            "mv_" + topology.clusterID.uuidString.lowercased().prefix(8) + "_"
        let answers = try await connection.pipeline(
            [
                Statement("begin isolation level repeatable read read only"),
                Statement(
                    "select coalesce(array_agg(version::int8), '{}') from shard.migrations"),
                Statement(Self.slotsSQL),
                Statement(Self.replicationSlotsSQL, [prefix]),
                Statement(
                    "select pubname from pg_publication where starts_with(pubname::text, $1)",
                    [prefix]),
                Statement(Self.subscriptionsSQL, [prefix]),
                Statement(
                    """
                    select gid, database::text, extract(epoch from now() - prepared)::int8
                    from pg_prepared_xacts
                    """),
            ], deadline: deadline)
        var facts = ShardFacts(schema: try answers[1][0].get(0))
        for row in answers[2] {
            let slot = try ShardFacts.SlotRow(row)
            facts.slots[slot.slot] = slot
        }
        for row in answers[3] {
            facts.replicationSlots.append(
                ShardFacts.ReplicationSlot(
                    artefact: .init(try row.get(0), prefix), isActive: try row.get(1),
                    walStatus: try row.get(2), heldBytes: try row.get(3)))
        }
        for row in answers[4] { facts.publications.append(.init(try row.get(0), prefix)) }
        for row in answers[5] {
            facts.subscriptions.append(
                ShardFacts.Subscription(
                    artefact: .init(try row.get(0), prefix), isEnabled: try row.get(1),
                    applyErrors: try row.get(2)))
        }
        for row in answers[6] {
            facts.prepared.append(
                ShardFacts.PreparedTransaction(
                    name: try row.get(0), database: try row.get(1), ageSeconds: try row.get(2)))
        }
        facts.tables = try await TableChecks.problems(connection, deadline: deadline)
        facts.foreign = try await foreign.find(connection, deadline: deadline)
        facts.server = try await ServerChecks(seed: topology.seed, needsMoves: false)
            .findings(connection, deadline: deadline)
        _ = try await connection.query("commit", deadline: deadline)
        return facts
    }

    /// By way of JSON, so that a schema without fences can be read as well.
    private static let slotsSQL = """
        select slot, state, move_id, moved_to, epoch,
            case when state = 'fenced' then (extract(epoch from clock_timestamp()
                - (to_jsonb(s) ->> 'fenced_at')::timestamptz) * 1000)::int8 end as fenced_ms
        from shard.slots s where state <> 'none' or move_id is not null
        """

    private static let replicationSlotsSQL = """
        select slot_name, active, coalesce(wal_status, 'reserved'),
            coalesce(pg_wal_lsn_diff(
                case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                    else pg_current_wal_lsn() end, restart_lsn), 0)::int8
        from pg_replication_slots
        where starts_with(slot_name::text, $1) and not temporary
            and database = current_database()
        """

    private static let subscriptionsSQL = """
        select s.subname, s.subenabled, coalesce(t.apply_error_count, 0)
        from pg_subscription s
        left join pg_stat_subscription_stats t on t.subid = s.oid
        where starts_with(s.subname::text, $1)
            and s.subdbid = (select oid from pg_database where datname = current_database())
        """
}

extension ShardFacts.SlotRow {
    init(_ row: Row) throws(PostgresError) {
        slot = try row.get("slot")
        state = try row.get("state")
        move = try row.get("move_id")
        movedTo = try row.get("moved_to")
        epoch = try row.get("epoch")
        fencedFor = try row.get("fenced_ms", as: Int?.self).map { .milliseconds($0) }
    }
}

extension ShardFacts.Artefact {
    /// `mv_<cluster>_<move>`, or that with `_v` behind it.
    init(_ name: String, _ prefix: String) {
        self.name = name
        isForVerifying = name.hasSuffix("_v")
        move = Int(name.dropFirst(prefix.count).dropLast(isForVerifying ? 2 : 0))
    }
}
