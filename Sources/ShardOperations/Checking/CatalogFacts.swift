import Postgres
import ShardRouter

/// What the catalog says, as far as the doctor compares it with the shards.
struct CatalogFacts: Sendable {
    /// A move that is open.
    struct Move: Sendable {
        var id: Int
        var source: ShardID
        var target: ShardID
        var slots: Set<Int>
        var phase: String
        var runner: String?
        /// How long nothing was heard of it.
        var silence: Duration
        /// Whether a runner holds its lock now.
        var isRunning: Bool
    }

    var topology: Topology
    var schema: [Int]
    var openMoves: [Int: Move] = [:]
    /// Moves that are done and whose old copies wait to be purged.
    var unpurged: Set<Int> = []

    /// The open move of each slot that has one.
    var moveOfSlot: [Int: Move] {
        openMoves.values.reduce(into: [:]) { map, move in
            for slot in move.slots { map[slot] = move }
        }
    }

    /// Reads the catalog; changes nothing.
    static func read(
        _ cluster: Cluster, _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> CatalogFacts {
        let topology: Topology
        do throws(CatalogError) {
            topology = try await CatalogReader.topology(
                connection, name: cluster.catalog.withoutSecrets, deadline: deadline)
        } catch {
            guard case .notInitialised = error else { throw error }
            throw OperationError.refused("\(error)", next: "shardctl init")
        }
        var facts = CatalogFacts(
            topology: topology,
            schema: try await connection.query(
                "select coalesce(array_agg(version::int8), '{}') from catalog.migrations",
                deadline: deadline)[0].get(0))
        guard try await Cluster.hasJournal(connection, deadline: deadline) else { return facts }
        let answers = try await connection.pipeline(
            [
                Statement("begin isolation level repeatable read read only"),
                Statement(movesSQL, [Int(MoveJournal.runnerLock)]),
                Statement(
                    """
                    select coalesce(array_agg(id), '{}') from catalog.moves
                    where state = 'done' and purged_at is null
                    """),
                Statement("commit"),
            ], deadline: deadline)
        for row in answers[1] {
            let move = try Move(row)
            facts.openMoves[move.id] = move
        }
        facts.unpurged = Set(try answers[2][0].get(0, as: [Int].self))
        return facts
    }

    private static let movesSQL = """
        select m.id, m.source_id, m.target_id, m.slots::int8[] as slots, m.phase, m.runner,
            (extract(epoch from clock_timestamp() - coalesce(m.seen_at, m.opened_at)) * 1000)::int8
                as silent_ms,
            exists (select from pg_locks l
                where l.locktype = 'advisory' and l.granted and l.objsubid = 2
                    and l.classid = $1::int8::oid and l.objid = m.id::oid
                    and l.database = (select d.oid from pg_database d
                        where d.datname = current_database())) as is_running
        from catalog.moves m where m.state = 'open'
        """
}

extension CatalogFacts.Move {
    init(_ row: Row) throws(PostgresError) {
        id = try row.get("id")
        source = ShardID(try row.get("source_id"))
        target = ShardID(try row.get("target_id"))
        slots = Set(try row.get("slots", as: [Int].self))
        phase = try row.get("phase")
        runner = try row.get("runner")
        silence = .milliseconds(try row.get("silent_ms", as: Int.self))
        isRunning = try row.get("is_running")
    }
}
