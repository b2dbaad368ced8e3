public import Foundation
import Postgres
public import ShardRouter

extension Cluster {
    /// Makes the catalog: its schema, the cluster's id and the seed of its ring.
    ///
    /// - Parameter seed: drawn from the system's generator when nil.
    public func initialise(seed: Int64? = nil) async throws -> (id: UUID, seed: Int64) {
        let migrator = try migrator(.catalog)
        let (id, seed) = (UUID(), seed ?? Int64.random(in: .min ... .max))
        return try await withCatalog { connection in
            _ = try await migrator.up(connection, deadline: .now + Self.migrationPatience)
            let deadline = ContinuousClock.now + Self.patience
            let rows = try await connection.query(
                "insert into catalog.cluster (id, seed) values ($1, $2) on conflict do nothing "
                    + "returning id", [id, seed], deadline: deadline)
            guard !rows.isEmpty else {
                let known = try await connection.query(
                    """
                    select id::text, (select count(*) from catalog.shards) from catalog.cluster
                    """, deadline: deadline)[0]
                throw OperationError.refused(
                    "the database holds the catalog of cluster "
                        + "\(try known.get(0, as: String.self)) with "
                        + "\(try known.get(1, as: Int.self)) shards already",
                    next: "shardctl status")
            }
            return (id, seed)
        }
    }

    /// One database of the fleet: what is applied and what is missing.
    public struct MigrationState: Sendable, Equatable {
        public var database: String
        public var applied: [Int]
        public var pending: [Int]
    }

    /// Reads, or with `isApplying` brings up to date, the catalog and then every shard.
    ///
    /// - Throws: a refusal while rooms move: a change of their tables would break the move. No move
    ///   begins before the migration has ended.
    public func migrate(isApplying: Bool) async throws -> [MigrationState] {
        guard isApplying else { return try await states(isApplying: false) }
        return try await withCatalog { catalog in
            let isFree: Bool = try await catalog.query(
                "select pg_try_advisory_lock($1)", [MoveJournal.migrationLock],
                deadline: .now + Self.patience)[0].get(0)
            guard isFree else {
                throw OperationError.refused(
                    "another migration is under way, or a move is being opened",
                    next: "repeat it in a moment")
            }
            try await refuseWhileMoving(catalog)
            return try await states(isApplying: true)
        }
    }

    private func refuseWhileMoving(_ catalog: PostgresConnection) async throws {
        let hasJournal: Bool = try await catalog.query(
            "select to_regclass('catalog.moving_slots') is not null",
            deadline: .now + Self.patience)[0].get(0)
        guard hasJournal else { return }  // A catalog from before moves.
        let moves: [Int64] = try await catalog.query(
            """
            select coalesce(array_agg(distinct move_id order by move_id), '{}')
            from catalog.moving_slots
            """, deadline: .now + Self.patience)[0].get(0)
        guard let first = moves.first else { return }
        throw OperationError.refused(
            "\(moves.count) moves are open, and a change of their tables would break them",
            next: "shardctl move resume \(first), then repeat the migration")
    }

    private func states(isApplying: Bool) async throws -> [MigrationState] {
        let (catalogMigrator, shardMigrator) = (try migrator(.catalog), try migrator(.shard))
        var states = [
            try await withCatalog {
                try await state($0, "catalog", catalogMigrator, isApplying: isApplying)
            }
        ]
        for shard in try await topology().shards where shard.state != .retired {
            states.append(
                try await withShard(endpoint: shard.endpoint, name: shard.name) {
                    try await state($0, shard.name, shardMigrator, isApplying: isApplying)
                })
        }
        return states
    }

    private func state(
        _ connection: PostgresConnection, _ name: String, _ migrator: Migrator, isApplying: Bool
    ) async throws -> MigrationState {
        if isApplying {
            _ = try await migrator.up(connection, deadline: .now + Self.migrationPatience)
        }
        let applied = try await migrator.applied(connection, deadline: .now + Self.patience)
        let pending = migrator.migrations.map(\.version).filter { !applied.contains($0) }
        return MigrationState(database: name, applied: applied, pending: pending)
    }

    /// Where a room lives, by the catalog and by the shard itself.
    public struct Location: Sendable, Equatable {
        public var slot: Slot
        public var shard: Shard
        /// What the shard's own table says: `active` when it agrees.
        public var stateAtShard: String
        public var agrees: Bool { stateAtShard == "active" }
    }

    /// Finds the shard of `room` and asks it whether it agrees.
    public func locate(_ room: RoomID) async throws -> Location {
        guard !room.text.isEmpty else {
            throw OperationError.refused(
                "a room's name is not empty", next: "shardctl room locate lobby")
        }
        let topology = try await topology()
        let slot = topology.ringHash.slot(of: room)
        guard let owner = topology.owner(of: slot), let shard = topology.shard(owner) else {
            throw OperationError.refused(
                "no shard owns slot \(slot)", next: "shardctl shard add NAME --endpoint …")
        }
        let state = try await withShard(shard, of: topology) { connection in
            // The slot is computed by the shard, so the two hashes are compared as well.
            let row = try await connection.query(
                "select state from shard.slots where slot = shard.slot_of($1) and slot = $2",
                [room.text, slot.number], deadline: .now + Self.patience)
            return try row.first?.get(0, as: String.self) ?? "hashed to another slot"
        }
        return Location(slot: slot, shard: shard, stateAtShard: state)
    }
}
