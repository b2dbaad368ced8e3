import Postgres
import ShardRouter

extension ShardAdding {
    /// Takes the new shard's share over: first every old owner lets go, then the new one owns, and
    /// the catalog learns of it last.
    ///
    /// The old owners' transactions are all ready before the first one commits. The lock waits for
    /// writers that are under way, so the check for rooms in these slots sees what they stored.
    func claim(
        _ shard: Shard, _ topology: Topology, _ catalog: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws -> Int {
        var weights = [shard.id: shard.weight]
        for other in topology.shards where other.state == .active {
            weights[other.id] = other.weight
        }
        let current =
            topology.owners.isEmpty
            ? [ShardID?](repeating: nil, count: Slot.count) : topology.owners.map { $0 }
        let owners = try Claim.owners(current: current, weights: weights)
        let epoch = topology.epoch.number + 1
        let taken = owners.indices.filter { current[$0] != owners[$0] }
        try await letGo(taken, of: current, to: shard, epoch, topology, deadline)
        try await own(taken, epoch, deadline)
        _ = try await catalog.pipeline(
            [
                Statement("begin"),
                Statement(
                    "insert into catalog.topology (epoch, reason) values ($1, $2)",
                    [epoch, "shard \(name) added"]),
                Statement(
                    """
                    insert into catalog.slots (slot, shard_id, epoch)
                    select slot, $2::int8::int4, $3 from unnest($1::int8[]) as s (slot)
                    on conflict (slot) do update
                    set shard_id = excluded.shard_id, epoch = excluded.epoch
                    """, [taken, shard.id.number, epoch]),
                Statement(
                    "update catalog.shards set state = 'active' where id = $1::int8::int4",
                    [shard.id.number]),
                Statement("commit"),
            ], deadline: deadline)
        return taken.count
    }

    private func letGo(
        _ slots: [Int], of current: [ShardID?], to shard: Shard, _ epoch: Int64,
        _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws {
        var open: [PostgresConnection] = []
        defer { open.forEach { $0.close() } }
        for giver in topology.shards {
            let given = slots.filter { current[$0] == giver.id }
            guard !given.isEmpty else { continue }
            let connection = try await PostgresConnection.connect(
                try cluster.settings(endpoint: giver.endpoint), deadline: deadline)
            open.append(connection)
            try await prepare(connection, given, giver: giver, to: shard, epoch, deadline)
        }
        for connection in open { _ = try await connection.query("commit", deadline: deadline) }
    }

    private func prepare(
        _ connection: PostgresConnection, _ slots: [Int], giver: Shard, to shard: Shard,
        _ epoch: Int64, _ deadline: ContinuousClock.Instant
    ) async throws {
        let answers = try await connection.pipeline(
            [
                Statement("begin"),
                Statement("lock table public.rooms in share row exclusive mode"),
                Statement(
                    "select count(*) from public.rooms "
                        + "where shard.slot_of(room_id) = any ($1::int8[])", [slots]),
                Statement(
                    """
                    update shard.slots
                    set state = 'moved', moved_to = $2::int8::int4, epoch = $3
                    where slot = any ($1::int8[]) and (state = 'active'
                        or (state = 'moved' and moved_to = $2 and epoch = $3))
                    """, [slots, shard.id.number, epoch]),
            ], deadline: deadline)
        guard try answers[2][0].get(0, as: Int.self) == 0 else {
            throw OperationError.refused(
                "shard \(giver.name) holds rooms in the slots to be given; nothing was changed",
                next: "shardctl plan")
        }
        guard answers[3].affectedRows == slots.count else {
            throw OperationError.failed(
                "shard \(giver.name) owns only \(answers[3].affectedRows) of the \(slots.count) "
                    + "slots that the catalog says it owns", next: "shardctl status")
        }
    }

    private func own(
        _ slots: [Int], _ epoch: Int64, _ deadline: ContinuousClock.Instant
    ) async throws {
        let changed = try await cluster.withShard(endpoint: endpoint, name: name) {
            try await $0.query(
                """
                update shard.slots set state = 'active', epoch = $2, moved_to = null
                where slot = any ($1::int8[]) and (state in ('none', 'moved')
                    or (state = 'active' and epoch = $2))
                """, [slots, epoch], deadline: deadline
            ).affectedRows
        }
        guard changed == slots.count else {
            throw OperationError.failed(
                "the new shard took only \(changed) of \(slots.count) slots",
                next: "repeat the command")
        }
    }
}
