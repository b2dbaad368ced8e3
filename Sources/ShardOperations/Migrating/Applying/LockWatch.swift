import Postgres
import Synchronization

/// Looks, over a connection of its own, for whom a session waits.
///
/// A statement that waits for a lock cannot tell by itself who holds it, and when its time is over
/// nobody knows any more: so it is asked while it waits.
final class LockWatch: Sendable {
    /// A transaction that holds, or wants, what another waits for.
    struct Blocker: Sendable, Equatable {
        var pid: Int
        /// When its transaction began, as PostgreSQL's text: with the pid it names the transaction.
        var since: String
        /// For people.
        var words: String
    }

    private let observer: PostgresConnection
    private let watched: Int
    private let limits: MigrationLimits
    private let last = Mutex<[Blocker]>([])
    private let gaveUp = Mutex(false)

    init(observer: PostgresConnection, watched: Int, limits: MigrationLimits) {
        self.observer = observer
        self.watched = watched
        self.limits = limits
    }

    /// Who stood in the way when it was looked last.
    var blockers: [Blocker] { last.withLock { $0 } }

    /// Whether what ran last was cancelled, because it had waited for too long.
    var hasGivenUp: Bool { gaveUp.withLock { $0 } }

    /// Looks again and again until it is cancelled. Whoever has waited for longer than `patience` is
    /// cancelled at the server.
    func run(
        patience: Duration, _ tell: @Sendable (Blocker) -> Void
    ) async throws {
        last.withLock { $0 = [] }
        gaveUp.withLock { $0 = false }
        try await Task.sleep(for: limits.look)
        var waitingSince: ContinuousClock.Instant?
        while true {
            let found = try await ask()
            if let first = found.first {
                last.withLock { $0 = found }
                tell(first)
                let since = waitingSince ?? .now
                waitingSince = since
                if .now - since > patience {
                    gaveUp.withLock { $0 = true }
                    _ = try await observer.query(
                        "select pg_cancel_backend($1::int8::int4)", [watched],
                        deadline: .now + Cluster.patience)
                }
            } else {
                waitingSince = nil
            }
            try await Task.sleep(for: found.isEmpty ? limits.look : limits.poll)
        }
    }

    /// Returns when the transactions that stood in the way last are over, or `limit` has passed.
    func waitForBlockers(until limit: ContinuousClock.Instant) async throws {
        let awaited = blockers
        guard !awaited.contains(where: { $0.since.isEmpty }) else {
            // Their transactions may not be seen: then a pause has to do.
            return try await Task.sleep(until: limit)
        }
        repeat {
            try await Task.sleep(for: limits.poll)
            let rows = try await observer.query(
                """
                select pid, xact_start::text from pg_stat_activity
                where pid = any ($1::int8[]::int4[]) and xact_start is not null
                """, [awaited.map(\.pid)], deadline: .now + Cluster.patience)
            let open = try rows.map {
                (try $0.get(0, as: Int.self), try $0.get(1, as: String.self))
            }
            guard awaited.contains(where: { one in open.contains { $0 == (one.pid, one.since) } })
            else { return }
        } while .now < limit
    }

    private func ask() async throws -> [Blocker] {
        let rows = try await observer.query(
            """
            select a.pid, coalesce(a.xact_start::text, ''), a.usename, a.application_name, a.state,
                extract(epoch from clock_timestamp() - a.xact_start)::int8, left(a.query, 4000),
                a.backend_type
            from unnest(pg_blocking_pids($1::int8::int4)) b join pg_stat_activity a on a.pid = b
            order by a.xact_start nulls last
            """, [watched], deadline: .now + Cluster.patience)
        return try rows.map { row in
            Blocker(pid: try row.get(0), since: try row.get(1), words: try Self.words(row))
        }
    }

    /// Such as `pid 4711 (chatd as chat, idle in transaction, for 61 s): select … where id = $1`.
    static func words(_ row: Row) throws(PostgresError) -> String {
        let pid: Int = try row.get(0)
        let (user, program, state): (String?, String?, String?) = (
            try row.get(2), try row.get(3), try row.get(4)
        )
        let (seconds, query, type): (Int?, String?, String?) = (
            try row.get(5), try row.get(6), try row.get(7)
        )
        let name = [program, type].compactMap { $0 }.first { !$0.isEmpty } ?? "a client"
        var who = name + (user.map { " as \($0)" } ?? "")
        if let state { who += ", \(state)" }
        if let seconds { who += ", for \(seconds) s" }
        var text = "pid \(pid) (\(who))"
        guard query != "<insufficient privilege>" else {
            return text + "; more may be seen by a member of pg_read_all_stats"
        }
        if let query, !query.isEmpty { text += ": \(StatementText.shown(query))" }
        return text
    }
}
