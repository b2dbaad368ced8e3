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
            try await withCatalog { observer in
                _ = try await migrator.up(connection, observer: observer)
            }
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
