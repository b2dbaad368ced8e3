import Postgres
import ShardRouter

extension ShardAdding {
    /// Takes the new shard's share over: first every old owner lets go, then the new one owns, and
    /// the catalog learns of it last.
    ///
    /// The old owners' transactions are all ready before the first one commits. The lock waits for
    /// writers that are under way, so the check for rooms in these slots sees what they stored.
    ///
    /// - Returns: how many slots the shard took.
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
        let share = owners.indices.filter { current[$0] != owners[$0] }
        let epoch = topology.epoch.number + 1
        let taken = try await letGo(
            share, of: current, Change(shard: shard, epoch: epoch), topology, deadline)
        try reached(.ownersLetGo)
        try await own(taken, epoch, deadline)
        try reached(.owned)
        try await publish(taken, shard, epoch, catalog, deadline)
        try reached(.published)
        return taken.count
    }

    /// The change of the topology that is being made.
    private struct Change {
        var shard: Shard
        var epoch: Int64
    }

    /// One old owner, in an open transaction that keeps writers of new rooms out.
    private struct Giver {
        var shard: Shard
        var slots: [Int]
        var connection: PostgresConnection
        /// Slots that it let go before this addition was cut off.
        var released: [Int]
        var holdsRooms: Bool
    }

    /// - Returns: the slots that are free for the new shard.
    private func letGo(
        _ share: [Int], of current: [ShardID?], _ change: Change, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        var givers: [Giver] = []
        defer { givers.forEach { $0.connection.close() } }
        for shard in topology.shards {
            let slots = share.filter { current[$0] == shard.id }
            guard !slots.isEmpty else { continue }
            givers.append(try await lockRooms(of: shard, slots, change, deadline))
        }
        if let holder = givers.first(where: \.holdsRooms) {
            // Rooms were stored since the addition was cut off. What was let go then has no owner
            // and still gets one; everything else stays where it is.
            let released = givers.flatMap(\.released)
            guard !released.isEmpty else { throw Self.refusedForRooms(holder.shard.name) }
            return released
        }
        for giver in givers { try await release(giver, change, topology, deadline) }
        for giver in givers {
            _ = try await giver.connection.query("commit", deadline: deadline)
            try reached(.oneOwnerLetGo)
        }
        return share
    }

    private func lockRooms(
        of shard: Shard, _ slots: [Int], _ change: Change, _ deadline: ContinuousClock.Instant
    ) async throws -> Giver {
        let connection = try await PostgresConnection.connect(
            try cluster.settings(endpoint: shard.endpoint), deadline: deadline)
        do {
            let answers = try await connection.pipeline(
                [
                    Statement("begin"),
                    Statement("set local synchronous_commit = on"),
                    Statement("lock table public.rooms in share row exclusive mode"),
                    Statement(
                        "select exists (select from public.rooms "
                            + "where shard.slot_of(room_id) = any ($1::int8[]::int4[]))", [slots]),
                    Statement(
                        """
                        select coalesce(array_agg(slot::int8), '{}') from shard.slots
                        where slot = any ($1::int8[]::int4[])
                            and state = 'moved' and moved_to = $2 and epoch = $3
                        """, [slots, change.shard.id.number, change.epoch]),
                ], deadline: deadline)
            return Giver(
                shard: shard, slots: slots, connection: connection,
                released: try answers[4][0].get(0), holdsRooms: try answers[3][0].get(0))
        } catch {
            connection.close()
            throw error
        }
    }

    private func release(
        _ giver: Giver, _ change: Change, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        let left = Set(giver.slots).subtracting(giver.released).sorted()
        let changed = try await giver.connection.query(
            """
            update shard.slots
            set state = 'moved', moved_to = $2::int8::int4, epoch = $3
            where slot = any ($1::int8[]::int4[]) and state = 'active'
            """, [left, change.shard.id.number, change.epoch], deadline: deadline
        ).affectedRows
        guard changed == left.count else {
            let other = topology.shards.first { $0.state == .joining && $0.id != change.shard.id }
            throw OperationError.failed(
                "shard \(giver.shard.name) owns only \(changed) of the \(left.count) slots that the "
                    + "catalog says it owns",
                next: other.map { "repeat first what was cut off: shardctl shard add \($0.name)" }
                    ?? "shardctl status")
        }
    }

    /// The new shard owns `slots` from now on.
    private func own(
        _ slots: [Int], _ epoch: Int64, _ deadline: ContinuousClock.Instant
    ) async throws {
        let changed = try await cluster.withShard(endpoint: endpoint, name: name) {
            try await $0.query(
                """
                update shard.slots set state = 'active', epoch = $2, moved_to = null
                where slot = any ($1::int8[]::int4[]) and (state in ('none', 'moved')
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

    /// The catalog, and with it every router, learns who owns `slots`.
    private func publish(
        _ slots: [Int], _ shard: Shard, _ epoch: Int64, _ catalog: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws {
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
                    """, [slots, shard.id.number, epoch]),
                Statement(
                    "update catalog.shards set state = 'active' where id = $1::int8::int4",
                    [shard.id.number]),
                Statement("commit"),
            ], deadline: deadline)
    }
}
