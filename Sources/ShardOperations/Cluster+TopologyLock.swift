import Postgres
import ShardRouter

extension Cluster {
    /// Whoever changes shards or ownership in the catalog holds this lock there; no move is opened
    /// meanwhile.
    static let topologyLock = Migrator.lock + 1

    /// Takes the lock for the session of `catalog`, which gives it back when it ends.
    static func lockTopology(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws {
        while true {
            let row = try await catalog.query(
                "select pg_try_advisory_lock($1)", [topologyLock], deadline: deadline)[0]
            if try row.get(0, as: Bool.self) { return }
            guard ContinuousClock.now + .milliseconds(100) < deadline else {
                throw OperationError.failed("another change of the topology does not end")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// The topology by a connection that is open already.
    func topology(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> Topology {
        do throws(CatalogError) {
            return try await CatalogReader.topology(
                catalog, name: self.catalog.withoutSecrets, deadline: deadline)
        } catch {
            switch error {
            case .notInitialised:
                throw OperationError.refused("\(error)", next: "shardctl init")
            case .unreachable, .inconsistent:
                throw OperationError.failed("\(error)", next: "shardctl status")
            }
        }
    }

    /// Whether the catalog has the journal of moves: it has not while its schema is old.
    static func hasJournal(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Bool {
        try await catalog.query(
            "select to_regclass('catalog.moves') is not null", deadline: deadline)[0].get(0)
    }

    /// Whether any move is open.
    static func hasOpenMoves(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Bool {
        guard try await hasJournal(catalog, deadline: deadline) else { return false }
        return try await catalog.query(
            "select exists (select from catalog.moving_slots)", deadline: deadline)[0].get(0)
    }

    /// The slots of open moves.
    static func movingSlots(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Set<Int> {
        guard try await hasJournal(catalog, deadline: deadline) else { return [] }
        let slots = try await catalog.query(
            "select coalesce(array_agg(slot::int8), '{}') from catalog.moving_slots",
            deadline: deadline)[0].get(0, as: [Int].self)
        return Set(slots)
    }
}
