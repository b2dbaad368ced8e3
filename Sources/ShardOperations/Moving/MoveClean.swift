import FoundationEssentials
import Postgres
import ShardRouter

/// Removes what finished moves have left: old copies whose grace time has passed, and artefacts of
/// moves that are closed.
public struct MoveClean: Sendable {
    public struct Outcome: Sendable {
        /// Moves whose old copy is gone now.
        public var purged: [Int64] = []
        /// Old copies that stay until their grace time has passed.
        public var waiting: [Move] = []
        /// Artefacts that were dropped, with their shard.
        public var dropped: [String] = []
        /// Shards that did not answer.
        public var problems: [String] = []
    }

    /// A rest between two batches: other work comes first.
    private static let pause = Duration.milliseconds(10)

    let cluster: Cluster
    let limits: MoveLimits
    var watch = MoveWatch()

    public init(cluster: Cluster, limits: MoveLimits) {
        self.cluster = cluster
        self.limits = limits
    }

    private var journal: MoveJournal { MoveJournal(cluster: cluster) }

    /// - Parameter isImpatient: purge old copies although their grace time has not passed.
    public func run(isImpatient: Bool) async throws -> Outcome {
        var outcome = Outcome()
        for move in try await journal.unpurged(isDue: !isImpatient) {
            guard move.source.state != .retired else {
                // Its database is nobody's any more, if it is there at all.
                try await journal.notePurged(move)
                outcome.dropped.append(
                    "the old copy of move \(move.id) from the journal: \(move.source.name) is "
                        + "retired")
                continue
            }
            do {
                try await purge(move)
                outcome.purged.append(move.id)
            } catch MoveError.unreachable(let shard, let reason) {
                let problem = "shard \(shard) is away: \(reason)"
                if !outcome.problems.contains(problem) { outcome.problems.append(problem) }
            }
        }
        outcome.waiting = try await journal.unpurged(isDue: false)
        let topology = try await cluster.topology()
        for shard in topology.shards where shard.state != .retired {
            do {
                outcome.dropped += try await dropOrphans(shard, topology)
            } catch let error as OperationError {
                outcome.problems.append(error.description)
            }
        }
        return outcome
    }

    /// Step 12. A slot that has come back since is somebody else's: then nothing of it is touched.
    func purge(_ move: Move) async throws {
        let source = try await MoveLinks(cluster: cluster, move: move).source()
        defer { source.close() }
        while true {
            var mine = move
            mine.slots = try await source.query(
                """
                select coalesce(array_agg(slot::int8 order by slot), '{}') from shard.slots
                where slot = any ($1::int8[]::int4[]) and state = 'moved' and move_id = $2
                """, [move.slots, move.id], deadline: .now + MoveLinks.patience)[0].get(0)
            if mine.slots.isEmpty { break }
            do {
                try await MoveWipe(
                    move: mine, limits: limits, expected: "moved",
                    afterBatch: { try await watch.reached(.purgedBatch, move) }, pause: Self.pause
                ).run(source)
                break
            } catch MoveError.changed {
                // A later move has begun with some of the slots; it wipes those itself.
            }
        }
        try await journal.notePurged(move)
    }

    /// Drops what is named after moves that are closed.
    func dropOrphans(_ shard: Shard, _ topology: Topology) async throws -> [String] {
        let prefix = Move.prefix(topology.clusterID)
        // Read first: what is opened afterwards is not known at the shard yet.
        let names = try await cluster.withShard(shard, of: topology) { connection in
            let rows = try await connection.query(
                """
                select slot_name::text, 'replication slot' from pg_replication_slots
                where starts_with(slot_name, $1) and database = current_database()
                    and not temporary
                union all
                select pubname::text, 'publication' from pg_publication
                where starts_with(pubname, $1)
                union all
                select subname::text, 'subscription' from pg_subscription s
                join pg_database d on d.oid = s.subdbid
                where starts_with(subname, $1) and datname = current_database()
                """, [prefix], deadline: .now + Cluster.patience)
            return try rows.map {
                (name: try $0.get(0, as: String.self), kind: try $0.get(1, as: String.self))
            }
        }
        guard !names.isEmpty else { return [] }
        let open = Set(try await journal.openMoves().map(\.name))
        let orphans = names.filter { !open.contains($0.name) }
        return try await cluster.withShard(shard, of: topology) { connection in
            for orphan in orphans {
                try await drop(orphan.name, orphan.kind, connection)
            }
            return orphans.map { "\($0.kind) \($0.name) at \(shard.name)" }
        }
    }

    private func drop(
        _ name: String, _ kind: String, _ connection: PostgresConnection
    ) async throws {
        let deadline = ContinuousClock.now + MoveLinks.patience
        switch kind {
        case "subscription":
            _ = try await connection.query(
                "select shard.move_unsubscribe($1)", [name], deadline: deadline)
        case "publication":
            try await connection.script("drop publication if exists \(name)", deadline: deadline)
        default:
            try await MoveArtefacts.dropSlot(name, connection)
        }
    }
}
