import Postgres
import ShardRouter

/// What a move makes in its two databases, by its name.
struct MoveArtefacts: Sendable {
    let move: Move

    /// Drops whatever is left of the move but its rows. Repeating it changes nothing.
    func drop(source: PostgresConnection, target: PostgresConnection) async throws {
        let deadline = ContinuousClock.now + MoveLinks.patience
        _ = try await target.query(
            "select shard.move_unsubscribe($1)", [move.name], deadline: deadline)
        try await dropAtSource(source)
        try await forget(target)
    }

    /// The same without the target.
    func dropAtSource(_ source: PostgresConnection) async throws {
        let deadline = ContinuousClock.now + MoveLinks.patience
        // A runner that stands still keeps its sessions, and their snapshots hold back the vacuum.
        _ = try await source.query(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = $1 and pid <> pg_backend_pid()
                and xact_start < clock_timestamp() - interval '1 minute'
            """, [move.name], deadline: deadline)
        try await Self.dropSlot(move.name, source)
        try await source.script(
            "drop publication if exists \(move.name)", deadline: deadline)
        try await forget(source)
    }

    private func forget(_ connection: PostgresConnection) async throws {
        _ = try await connection.pipeline(
            [
                Statement("delete from shard.move_marks where move_id = $1", [move.id]),
                Statement("delete from shard.move_probes where move_id = $1", [move.id]),
            ], deadline: .now + MoveLinks.patience)
    }

    /// Its reader may still be there for a moment, or for ever when its machine is gone.
    static func dropSlot(_ name: String, _ source: PostgresConnection) async throws {
        let limit = ContinuousClock.now + .seconds(20)
        while true {
            let left: Int = try await source.query(
                """
                with known as (
                    select slot_name, active_pid from pg_replication_slots where slot_name = $1),
                ended as (
                    select pg_terminate_backend(active_pid) from known where active_pid is not null)
                select (select count(*) from known)
                    + 0 * (select count(*) from ended)
                """, [name], deadline: .now + MoveLinks.patience)[0].get(0)
            if left == 0 { return }
            do throws(PostgresError) {
                _ = try await source.query(
                    "select pg_drop_replication_slot($1)", [name],
                    deadline: .now + MoveLinks.patience)
                return
            } catch {
                // 55006: in use; 42704: somebody else was quicker.
                guard ["55006", "42704"].contains(error.sqlState), ContinuousClock.now < limit
                else { throw error }
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}

/// Ends a move before its commit point, by anybody at any time.
public struct MoveAbort: Sendable {
    /// The reason of a move that nobody shall make anew.
    public static let byOperator = "by an operator"

    let cluster: Cluster
    let move: Move
    let limits: MoveLimits
    var watch = MoveWatch()

    public init(cluster: Cluster, move: Move, limits: MoveLimits) {
        self.init(cluster: cluster, move: move, limits: limits, watch: MoveWatch())
    }

    init(cluster: Cluster, move: Move, limits: MoveLimits, watch: MoveWatch) {
        self.cluster = cluster
        self.move = move
        self.limits = limits
        self.watch = watch
    }

    /// Ends a move whose target is gone for ever. If it came back, and a runner that slept with it,
    /// two shards would own the slots: that is why a target that answers is refused.
    public func runWithoutTarget() async throws {
        let journal = MoveJournal(cluster: cluster)
        guard try await journal.state(of: move.id).state == .open else {
            throw OperationError.refused(
                "move \(move.id) is closed already", next: "shardctl move show \(move.id)")
        }
        let links = MoveLinks(cluster: cluster, move: move)
        do {
            try await links.target().close()
            throw OperationError.refused(
                "the target \(move.target.name) answers, so it is not lost",
                next: "shardctl move abort \(move.id) --yes")
        } catch MoveError.unreachable {
            // As it has to be.
        }
        let source = try await links.source()
        defer { source.close() }
        try await MoveArtefacts(move: move).dropAtSource(source)
        try await source.step(
            "move_reopen($1, $2::int8[]::int4[])", [move.id, move.slots],
            deadline: .now + MoveLinks.patience)
        try await journal.close(move, as: .aborted, note: "its target is lost", grace: nil)
    }

    /// - Throws: a refusal when the target owns the slots already; ``MoveError`` when a shard is away:
    ///   repeat it.
    public func run(because reason: String) async throws {
        let journal = MoveJournal(cluster: cluster)
        guard try await journal.state(of: move.id).state == .open else {
            throw OperationError.refused(
                "move \(move.id) is closed already", next: "shardctl move show \(move.id)")
        }
        let links = MoveLinks(cluster: cluster, move: move)
        let target = try await links.target()
        defer { target.close() }
        try await bar(target)
        // Whoever finishes this abort shall know whether the move is to be made anew.
        try await journal.note(
            move, phase: MovePhase.aborting.rawValue, MoveFields(note: reason))
        try await watch.reached(.barred, move)
        let source = try await links.source()
        defer { source.close() }
        let deadline = ContinuousClock.now + MoveLinks.patience
        _ = try await target.query(
            "select shard.move_unsubscribe($1)", [move.name], deadline: deadline)
        try await watch.reached(.unsubscribed, move)
        try await MoveArtefacts(move: move).drop(source: source, target: target)
        try await watch.reached(.slotDroppedByAbort, move)
        try await source.step(
            "move_reopen($1, $2::int8[]::int4[])", [move.id, move.slots],
            deadline: .now + MoveLinks.patience)
        try await watch.reached(.reopened, move)
        try await MoveWipe(move: move, limits: limits, expected: "none").run(target)
        try await watch.reached(.wipedByAbort, move)
        try await journal.close(move, as: .aborted, note: reason, grace: nil)
    }

    /// Writes the tombstone. A copy that is under way holds the slots' rows: its sessions are ended.
    private func bar(_ target: PostgresConnection) async throws {
        let limit = ContinuousClock.now + MoveLinks.patience
        while true {
            do {
                try await target.transaction(deadline: .now + MoveLinks.patience) {
                    _ = try await target.query(
                        "set local lock_timeout = '200ms'", deadline: .now + MoveLinks.patience)
                    try await target.step(
                        "move_bar($1, $2::int8[]::int4[])", [move.id, move.slots],
                        deadline: .now + MoveLinks.patience)
                }
                return
            } catch MoveError.changed(let step) {
                let row = try await target.query(
                    """
                    select count(*) from shard.slots
                    where slot = any ($1::int8[]::int4[]) and state = 'active' and move_id = $2
                    """, [move.slots, move.id], deadline: .now + MoveLinks.patience)[0]
                guard try row.get(0, as: Int.self) > 0 else {
                    throw OperationError.failed(
                        "move \(move.id) cannot be aborted: \(step)", next: "shardctl doctor")
                }
                throw OperationError.refused(
                    "move \(move.id) cannot be aborted any more: \(move.target.name) owns the slots",
                    next: "shardctl move resume \(move.id), then: shardctl move reverse \(move.id)")
            } catch let error as PostgresError where error.sqlState == "55P03" {
                guard ContinuousClock.now < limit else { throw error }
            }
            _ = try await target.query(
                """
                select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = $1 and pid <> pg_backend_pid()
                """, [move.name], deadline: .now + MoveLinks.patience)
        }
    }
}
