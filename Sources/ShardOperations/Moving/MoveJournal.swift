import FoundationEssentials
import Postgres
import ShardRouter

/// The journal of moves in the catalog.
public struct MoveJournal: Sendable {
    /// Whoever runs a move holds this advisory lock of the catalog, with the move's id as the second
    /// number. A courtesy: it keeps two runners from doing the same work, the protocol does not need
    /// it.
    public static let runnerLock: Int32 = 1_836_412_517
    /// Held by a change of the set of shards, and for a moment by the opening of a move.
    static let topologyLock = Migrator.lock + 1
    /// Held by a migration of the fleet while it runs.
    static let migrationLock = Migrator.lock + 2

    let cluster: Cluster

    public init(cluster: Cluster) {
        self.cluster = cluster
    }

    /// Opens a move of `slots`.
    ///
    /// - Throws: a refusal when the source does not own them all, one of them is in another open
    ///   move, the target takes no slots, or a migration is under way. Then nothing was changed.
    func open(
        _ slots: [Int], from source: Shard, to target: Shard, reason: String, plan: Int64? = nil,
        reverses: Int64? = nil
    ) async throws -> Move {
        let id: Int64 = try await cluster.withCatalog { catalog in
            do throws(PostgresError) {
                return try await catalog.query(
                    """
                    select catalog.open_move($1::int8::int4, $2::int8::int4, $3::int8[]::int4[],
                        $4, $5, $6, $7, $8)
                    """,
                    [
                        source.id.number, target.id.number, slots, reason, plan, reverses,
                        Self.migrationLock, Self.topologyLock,
                    ], deadline: .now + Cluster.patience)[0].get(0)
            } catch {
                guard case .server(let server) = error, server.sqlState.hasPrefix("SM") else {
                    throw error
                }
                throw OperationError.refused(
                    "slots \(Move.ranges(slots)) cannot move from \(source.name) to "
                        + "\(target.name): \(server.message)",
                    next: server.sqlState == "SM002"
                        ? "wait for it to end, then repeat" : "shardctl move list")
            }
        }
        return try await move(id)
    }

    /// One move.
    public func move(_ id: Int64) async throws -> Move {
        guard let move = try await moves("m.id = $1", [id]).first else {
            throw OperationError.refused("there is no move \(id)", next: "shardctl move list --all")
        }
        return move
    }

    /// What may have changed since a move was read; unlike ``move(_:)`` it does not read who owns what.
    func state(of id: Int64) async throws -> (state: Move.State, note: String?, timeline: Int?) {
        try await cluster.withCatalog { catalog in
            let row = try await catalog.query(
                "select state, note, source_timeline from catalog.moves where id = $1", [id],
                deadline: .now + Cluster.patience
            ).first
            guard let row, let state = Move.State(rawValue: try row.get(0)) else {
                throw OperationError.refused(
                    "there is no move \(id)", next: "shardctl move list --all")
            }
            return (state, try row.get(1), try row.get(2))
        }
    }

    /// Moves that are open, oldest first.
    public func openMoves() async throws -> [Move] { try await moves("m.state = 'open'", []) }

    /// The latest moves, newest last.
    public func latest(_ count: Int) async throws -> [Move] {
        try await moves("m.id in (select id from catalog.moves order by id desc limit $1)", [count])
    }

    /// The moves of a plan, in the order in which they were opened.
    public func moves(ofPlan plan: Int64) async throws -> [Move] {
        try await moves("m.plan_id = $1", [plan])
    }

    /// Moves whose old copy waits for its purge; `isDue`: and may be purged.
    public func unpurged(isDue: Bool) async throws -> [Move] {
        try await moves(
            "m.state = 'done' and m.purged_at is null"
                + (isDue ? " and m.purge_after <= now()" : ""), [])
    }

    private func moves(_ condition: String, _ parameters: [any PostgresEncodable]) async throws
        -> [Move]
    {
        let (topology, rows) = try await cluster.withCatalog { catalog in
            let rows = try await catalog.query(
                """
                select m.*, m.slots::int8[] as slot_numbers
                from catalog.moves m where \(condition) order by m.id
                """, parameters, deadline: .now + Cluster.patience)
            let topology = try await CatalogReader.topology(
                catalog, name: cluster.catalog.withoutSecrets, deadline: .now + Cluster.patience)
            return (topology, rows)
        }
        return try rows.map { try Move($0, topology) }
    }

    /// Notes for people how far a move has come.
    func note(_ move: Move, phase: String, _ fields: MoveFields = MoveFields()) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                """
                update catalog.moves set phase = $2, seen_at = now(), runner = $3,
                    note = coalesce($4, note), rows = coalesce($5, rows),
                    bytes = coalesce($6, bytes), lifts = lifts + $7::int8::int4,
                    pause_ms = coalesce($8, pause_ms),
                    verified_at = case when $9 then now() else verified_at end,
                    source_timeline = coalesce($10::int8::int4, source_timeline)
                where id = $1 and state = 'open'
                """,
                [
                    move.id, phase, fields.runner, fields.note, fields.rows, fields.bytes,
                    fields.lifts, fields.pauseMilliseconds, fields.isVerified, fields.timeline,
                ], deadline: .now + .seconds(10))
        }
    }

    /// Notes that the target's rows were compared with a later look.
    func noteVerified(_ move: Move) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                "update catalog.moves set verified_at = now() where id = $1", [move.id],
                deadline: .now + Cluster.patience)
        }
    }

    /// Step 9.
    func publish(_ move: Move) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                "select catalog.publish_move($1)", [move.id], deadline: .now + Cluster.patience)
        }
    }

    /// Step 11, or the end of an abort. A move that is closed already stays as it is.
    func close(_ move: Move, as state: Move.State, note: String?, grace: Duration?) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                "select catalog.close_move($1, $2, $3, make_interval(secs => $4))",
                [move.id, state.rawValue, note, grace.map { $0 / .seconds(1) }],
                deadline: .now + Cluster.patience)
        }
    }

    func notePurged(_ move: Move) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                "update catalog.moves set purged_at = now() where id = $1 and purged_at is null",
                [move.id], deadline: .now + Cluster.patience)
        }
    }
}

/// What a runner notes beside the phase.
struct MoveFields: Sendable {
    var runner =
        "\(ProcessInfo.processInfo.hostName), process \(ProcessInfo.processInfo.processIdentifier)"
    var note: String?
    var rows: Int64?
    var bytes: Int64?
    var lifts = 0
    var pauseMilliseconds: Double?
    var isVerified = false
    var timeline: Int?
}

extension Move {
    init(_ row: Row, _ topology: Topology) throws {
        let (source, target): (Int, Int) = (try row.get("source_id"), try row.get("target_id"))
        guard let source = topology.shard(ShardID(source)),
            let target = topology.shard(ShardID(target)),
            let state = State(rawValue: try row.get("state"))
        else { throw OperationError.failed("the journal names a shard that the catalog lost") }
        self.init(
            id: try row.get("id"), plan: try row.get("plan_id"), source: source, target: target,
            slots: try row.get("slot_numbers"), epochs: try row.get("epochs"), state: state,
            reason: try row.get("reason"), reverses: try row.get("reverses"),
            openedAt: try row.get("opened_at"), closedAt: try row.get("closed_at"),
            phase: try row.get("phase"), note: try row.get("note"), runner: try row.get("runner"),
            seenAt: try row.get("seen_at"), rows: try row.get("rows"),
            bytes: try row.get("bytes"), lifts: try row.get("lifts"),
            pauseMilliseconds: try row.get("pause_ms"), verifiedAt: try row.get("verified_at"),
            purgeAfter: try row.get("purge_after"), purgedAt: try row.get("purged_at"),
            sourceTimeline: try row.get("source_timeline"), clusterID: topology.clusterID,
            seed: topology.seed)
    }
}
