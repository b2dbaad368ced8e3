import Postgres
import ShardRouter

/// Steps 5 to 8: the fence, the last changes, the comparison, the commit at the target.
///
/// Everything at the target goes by one session: if it survives, the target did not restart, and what
/// was seen there is still there when the commit makes it durable.
struct MoveSwitch: Sendable {
    let move: Move
    let source: PostgresConnection
    let target: PostgresConnection
    /// A second session at the target, for what need not survive with the first.
    let side: PostgresConnection
    let verification: MoveVerification
    let limits: MoveLimits
    let watch: MoveWatch

    /// Makes a mark at the source: what was committed before it has arrived where it is seen.
    func mark(deadline: ContinuousClock.Instant) async throws -> Int64 {
        try await source.query(
            """
            insert into shard.move_marks as m (move_id, mark) values ($1, 1)
            on conflict (move_id) do update set mark = m.mark + 1 returning mark
            """, [move.id], deadline: deadline)[0].get(0)
    }

    /// Waits until the target and the watch have seen `mark`.
    func arrival(
        of mark: Int64, every pause: Duration, deadline: ContinuousClock.Instant
    ) async throws {
        try await atTarget(mark, every: pause, deadline: deadline)
        try await verification.watch.sees(mark, deadline: deadline)
    }

    /// Waits until the target has seen `mark`.
    func atTarget(
        _ mark: Int64, every pause: Duration, deadline: ContinuousClock.Instant
    ) async throws {
        while true {
            let seen = try await target.query(
                "select mark from shard.move_marks where move_id = $1", [move.id],
                deadline: .now + MoveLinks.patience)
            if try seen.first?.get(0, as: Int64.self) ?? 0 >= mark { return }
            guard ContinuousClock.now < deadline else {
                throw MoveError.notReady(why: "the target has not caught up")
            }
            try await Task.sleep(for: pause)
        }
    }

    /// Fences, and commits at the target when everything is there in time.
    ///
    /// Cancelling has no effect on it: a fence is not left standing.
    ///
    /// - Parameter changed: rows that were not compared yet.
    /// - Returns: the time from the fence to the release at the source.
    /// - Throws: ``MoveError/notReady(why:)`` after the fence was lifted again, with
    ///   ``MoveError/changed(step:)`` when somebody else has acted: look again. What was not compared
    ///   is with the watch again.
    func run(changed: [String: Set<RowKey>]) async throws -> Duration {
        try await Task {
            do {
                return try await self.fenceAndPass(changed)
            } catch {
                verification.watch.putBack(changed)
                throw error
            }
        }.value
    }

    private func fenceAndPass(_ changed: [String: Set<RowKey>]) async throws -> Duration {
        let patience = ContinuousClock.now + MoveLinks.patience
        let attempt: Int = try await target.query(
            """
            select coalesce(min(attempt), -1) from shard.slots
            where slot = any ($1::int8[]::int4[]) and state = 'importing' and move_id = $2
            """, [move.slots, move.id], deadline: patience)[0].get(0)
        guard attempt >= 0 else { throw MoveError.changed(step: "fence: nothing is importing") }
        let start = ContinuousClock.now
        try await source.step(
            "move_fence($1, $2::int8[]::int4[], $3, $4::int8::int4, $5::int8::int4)",
            [move.id, move.slots, move.epochs, attempt, move.target.id.number], deadline: patience)
        do {
            try await watch.reached(.fenced, move)
            try await pass(attempt, start + limits.fence, changed)
        } catch MoveError.changed(let step) {
            throw MoveError.changed(step: step)  // Somebody else has acted; the fence may be his.
        } catch MoveError.unknownOutcome(let reason) {
            throw MoveError.unreachable(shard: move.target.name, reason: reason)
        } catch {
            try await lift(attempt)
            switch error {
            case MoveError.rewritten(let table):
                throw MoveError.changed(step: "compare: \(table) was truncated or rewritten")
            case let late as PostgresError where isLate(late):
                throw MoveError.notReady(why: "a shard did not answer in time")
            default: throw error
            }
        }
        try await watch.reached(.activated, move)
        try await release()
        return .now - start
    }

    /// A statement that ends while it is cancelled loses its outcome, not its connection.
    private func isLate(_ error: PostgresError) -> Bool {
        switch error {
        case .deadlineExceeded: true
        case .connectionLost: source.isUsable && target.isUsable && side.isUsable
        default: false
        }
    }

    private func pass(
        _ attempt: Int, _ deadline: ContinuousClock.Instant,
        _ earlier: [String: Set<RowKey>]
    ) async throws {
        try await drain(deadline: deadline)
        try await watch.reached(.drained, move)
        let mark = try await mark(deadline: deadline)
        try await watch.reached(.marked, move)
        try await arrival(of: mark, every: .milliseconds(1), deadline: deadline)
        try await watch.reached(.arrived, move)
        async let quiet: Void = quieten()
        let last = verification.watch.take()
        do {
            try await compare(earlier.merging(last) { $0.union($1) }, deadline)
        } catch {
            verification.watch.putBack(last)
            throw error
        }
        try await quiet
        try await watch.reached(.comparedAgain, move)
        guard ContinuousClock.now < deadline else {
            verification.watch.putBack(last)
            throw MoveError.notReady(why: "the last changes could not be compared in time")
        }
        do {
            try await activate(attempt)
        } catch {
            verification.watch.putBack(last)
            throw error
        }
    }

    private func compare(
        _ changed: [String: Set<RowKey>], _ deadline: ContinuousClock.Instant
    ) async throws {
        guard ContinuousClock.now < deadline else {
            throw MoveError.notReady(why: "the last changes did not arrive in time")
        }
        try await verification.compareLast(
            changed, source: source, target: target, deadline: deadline)
        if let table = try await MoveTable.rewritten(
            verification.tables, source, deadline: deadline)
        {
            throw MoveError.rewritten(table.name)
        }
    }

    /// Step 7. No deadline of the fence from here on: a commit that is cut off is no lifted fence.
    private func activate(_ attempt: Int) async throws {
        do throws(PostgresError) {
            // Locks are not waited for: another move may be making its subscription.
            _ = try await target.pipeline(
                [
                    Statement("select set_config('lock_timeout', '50ms', true)"),
                    Statement(
                        "select shard.move_activate($1, $2::int8[]::int4[], $3, $4::int8::int4, $5)",
                        [move.id, move.slots, move.epochs, attempt, move.name]),
                ], deadline: .now + MoveLinks.patience)
        } catch {
            switch error.sqlState {
            case "SM001": throw MoveError.changed(step: "\(error)")
            case "55P03": throw MoveError.notReady(why: "another move held a lock at the target")
            default:
                // It may have been committed: only a new look tells.
                throw MoveError.unknownOutcome(reason: "\(error)")
            }
        }
    }

    /// Ends the subscription's worker, which has nothing left to do: the commit at the target drops the
    /// subscription, and would wait for the worker with everybody else waiting for it.
    private func quieten() async throws {
        let deadline = ContinuousClock.now + MoveLinks.patience
        _ = try await side.query(
            Statement("alter subscription \(move.name) disable", isPrepared: false),
            deadline: deadline)
        while true {
            let running: Int = try await side.query(
                """
                select count(pg_terminate_backend(pid)) from pg_stat_subscription
                where subname = $1 and pid is not null
                """, [move.name], deadline: deadline)[0].get(0)
            if running == 0 { return }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    /// Waits for the transactions that may have written before they could see the fence.
    func drain(deadline: ContinuousClock.Instant) async throws {
        var writers: [String] = try await source.query(
            "select shard.writers()", deadline: deadline)[0].get(0)
        while !writers.isEmpty {
            guard ContinuousClock.now < deadline else {
                let who = try await source.query(
                    """
                    select string_agg(format('process %s, open for %s s', a.pid,
                        round(extract(epoch from clock_timestamp() - a.xact_start), 1)), '; ')
                    from pg_locks l join pg_stat_activity a on a.pid = l.pid
                    where l.locktype = 'virtualxid' and l.virtualxid = any ($1)
                    """, [writers], deadline: .now + MoveLinks.patience)[0]
                    .get(0, as: String?.self)
                throw MoveError.notReady(
                    why: "a transaction that writes does not end ("
                        + "\(who ?? "a prepared one"))")
            }
            try await Task.sleep(for: .milliseconds(1))
            let left: [String] = try await source.query(
                "select shard.writers()", deadline: .now + MoveLinks.patience)[0].get(0)
            writers = writers.filter(left.contains)
        }
    }

    func release() async throws {
        try await source.step(
            "move_release($1, $2::int8[]::int4[], $3, $4::int8::int4)",
            [move.id, move.slots, move.epochs, move.target.id.number],
            deadline: .now + MoveLinks.patience)
        try await watch.reached(.released, move)
    }

    /// Opens the source again: first the target learns that this attempt is over, then the source.
    func lift(_ attempt: Int) async throws {
        try await MoveLift(move: move, source: source, target: target, watch: watch).run(attempt)
        _ = try await side.query(
            Statement("alter subscription \(move.name) enable", isPrepared: false),
            deadline: .now + MoveLinks.patience)
    }
}

/// Lifting a fence without aborting the move, by anybody who finds one that is too old.
struct MoveLift: Sendable {
    let move: Move
    let source: PostgresConnection
    let target: PostgresConnection
    var watch = MoveWatch()

    /// - Parameter attempt: the one with which the source was fenced.
    /// - Throws: ``MoveError/changed(step:)`` when the move has gone on meanwhile: look again.
    func run(_ attempt: Int) async throws {
        var attempt = attempt
        let deadline = ContinuousClock.now + MoveLinks.patience
        while true {
            do {
                try await target.step(
                    "move_raise($1, $2::int8[]::int4[], $3::int8::int4)",
                    [move.id, move.slots, attempt], deadline: deadline)
                break
            } catch MoveError.changed(let step) {
                let sight = try await MoveSight.read(
                    move, source: source, target: target, deadline: deadline)
                guard case .importing(let higher) = sight.target, higher > attempt else {
                    throw MoveError.changed(step: step)
                }
                attempt = higher
            }
        }
        try await watch.reached(.raised, move)
        try await source.step(
            "move_lift($1, $2::int8[]::int4[], $3::int8::int4)", [move.id, move.slots, attempt],
            deadline: .now + MoveLinks.patience)
        try await watch.reached(.lifted, move)
    }
}
