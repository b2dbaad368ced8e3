import Postgres
import ShardRouter

/// Measures, while a copy runs, how long a commit takes at both shards, and sets the copy's pace.
struct PaceKeeper: Sendable {
    private static let samples = 5
    private static let interval = Duration.milliseconds(250)

    let links: MoveLinks
    let copy: MoveCopy
    let limits: MoveLimits
    /// Told what the copy is slowed by, if it is.
    let tell: @Sendable (String?) -> Void

    /// Goes on until it is cancelled.
    func run() async throws {
        let source = try await links.source()
        defer { source.close() }
        let target = try await links.target()
        defer { target.close() }
        var before: [Duration] = []
        for _ in 0..<Self.samples { before.append(try await latency(source, target)) }
        var pace = MovePace(baseline: before.sorted()[Self.samples / 2], limits)
        var recent: [Duration] = []
        var bytes = copy.gate.bytes
        var time = ContinuousClock.now
        while !Task.isCancelled {
            try await Task.sleep(for: Self.interval)
            recent = (recent + [try await latency(source, target)]).suffix(3)
            let elapsed = (.now - time) / .seconds(1)
            let copied = Double(copy.gate.bytes - bytes) / max(elapsed, 0.001)
            (bytes, time) = (copy.gate.bytes, .now)
            // The middle of three: a single slow commit is no sign of load.
            pace.measured(latency: recent.sorted()[recent.count / 2], copied: copied)
            copy.gate.set(pace.rate)
            try await checkLog(source)
            guard copy.counts.elapsed > .zero else { continue }
            tell(pace.rate.map { "slowed to \(Int($0 / 1_048_576)) MiB/s: commits take longer" })
        }
    }

    /// While rows are copied, the replication slot holds back all that is written.
    private func checkLog(_ source: PostgresConnection) async throws {
        let held: Int64? = try await source.query(
            """
            select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8
            from pg_replication_slots where slot_name = $1
            """, [links.move.name], deadline: .now + MoveLinks.patience
        ).first?.get(0)
        guard let held, held > limits.heldLogBytes else { return }
        throw MoveError.logFull(heldBytes: held)
    }

    /// Of a small commit at the slower shard.
    private func latency(
        _ source: PostgresConnection, _ target: PostgresConnection
    ) async throws -> Duration {
        async let one = commit(source)
        async let other = commit(target)
        return try await max(one, other)
    }

    private func commit(_ connection: PostgresConnection) async throws -> Duration {
        let start = ContinuousClock.now
        _ = try await connection.query(
            """
            insert into shard.move_probes as p (move_id, probe) values ($1, 1)
            on conflict (move_id) do update set probe = p.probe + 1
            """, [links.move.id], deadline: start + MoveLinks.patience)
        return .now - start
    }
}
