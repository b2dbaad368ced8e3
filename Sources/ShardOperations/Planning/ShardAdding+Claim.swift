import Postgres
import ShardRouter

extension ShardAdding {
    /// Takes the new shard's share over: first every old owner lets go, then the new one owns, and
    /// the catalog learns of it last.
    ///
    /// The old owners' transactions are all ready before the first one commits. The lock waits for
    /// writers that are under way, so the check for rooms in these slots sees what they stored.
    ///
    /// - Parameter isClaiming: false when rooms are stored or move: then the shard gets only what
    ///   was let go for it before this addition was cut off, since nobody else may have that.
    /// - Returns: how many slots the shard took.
    func claim(
        _ shard: Shard, _ topology: Topology, isClaiming: Bool, _ catalog: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws -> Int {
        let change = Change(shard: shard, epoch: topology.epoch.number + 1)
        var taken = try await released(to: shard, topology, deadline)
        if isClaiming {
            let share = try await share(of: shard, topology, catalog, deadline)
            let left = Set(share).subtracting(taken).sorted()
            taken = (taken + (try await letGo(left, change, topology, deadline))).sorted()
        }
        try reached(.ownersLetGo)
        if !taken.isEmpty { try await own(taken, change.epoch, deadline) }
        try reached(.owned)
        try await publish(taken, change, catalog, deadline)
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
        var holdsRooms: Bool
    }

    /// The slots that become the shard's; pinned ones stay where they are.
    private func share(
        of shard: Shard, _ topology: Topology, _ catalog: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        var weights = [shard.id: shard.weight]
        for other in topology.shards where other.state == .active {
            weights[other.id] = other.weight
        }
        let current =
            topology.owners.isEmpty
            ? [ShardID?](repeating: nil, count: Slot.count) : topology.owners.map { $0 }
        let owners = try Claim.owners(current: current, weights: weights)
        let pinned = try await SlotPins.pinned(catalog, deadline: deadline)
        return owners.indices.filter {
            current[$0] != owners[$0] && owners[$0] == shard.id && !pinned.contains($0)
        }
    }

    /// Slots that their owners let go for `shard` before this addition was cut off: the catalog
    /// does not know of it yet.
    private func released(
        to shard: Shard, _ topology: Topology, _ deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        var released: [Int] = []
        for owner in topology.shards {
            let slots = topology.owners.indices.filter { topology.owners[$0] == owner.id }
            guard !slots.isEmpty else { continue }
            released += try await cluster.withShard(owner, of: topology) { connection in
                try await connection.query(
                    """
                    select coalesce(array_agg(slot::int8), '{}') from shard.slots
                    where slot = any ($1::int8[]::int4[]) and state = 'moved' and moved_to = $2
                    """, [slots, shard.id.number], deadline: deadline)[0].get(0, as: [Int].self)
            }
        }
        return released
    }

    /// - Returns: the slots that are free for the new shard; none when rooms were stored meanwhile.
    private func letGo(
        _ share: [Int], _ change: Change, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws -> [Int] {
        var givers: [Giver] = []
        defer { givers.forEach { $0.connection.close() } }
        for shard in topology.shards {
            let slots = share.filter { topology.owner(of: Slot($0)) == shard.id }
            guard !slots.isEmpty else { continue }
            givers.append(try await lockRooms(of: shard, slots, deadline))
        }
        guard !givers.contains(where: \.holdsRooms) else { return [] }
        for giver in givers { try await release(giver, change, topology, deadline) }
        for giver in givers {
            _ = try await giver.connection.query("commit", deadline: deadline)
            try reached(.oneOwnerLetGo)
        }
        return share
    }

    private func lockRooms(
        of shard: Shard, _ slots: [Int], _ deadline: ContinuousClock.Instant
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
                ], deadline: deadline)
            return Giver(
                shard: shard, slots: slots, connection: connection,
                holdsRooms: try answers[3][0].get(0))
        } catch {
            connection.close()
            throw error
        }
    }

    private func release(
        _ giver: Giver, _ change: Change, _ topology: Topology,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        let changed = try await giver.connection.query(
            """
            update shard.slots
            set state = 'moved', moved_to = $2::int8::int4, epoch = $3
            where slot = any ($1::int8[]::int4[]) and state = 'active'
            """, [giver.slots, change.shard.id.number, change.epoch], deadline: deadline
        ).affectedRows
        guard changed == giver.slots.count else {
            let other = topology.shards.first { $0.state == .joining && $0.id != change.shard.id }
            throw OperationError.failed(
                "shard \(giver.shard.name) owns only \(changed) of the \(giver.slots.count) slots "
                    + "that the catalog says it owns",
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
                where slot = any ($1::int8[]::int4[]) and state in ('none', 'moved', 'active')
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
        _ slots: [Int], _ change: Change, _ catalog: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        let activate = Statement(
            "update catalog.shards set state = 'active' where id = $1::int8::int4",
            [change.shard.id.number])
        guard !slots.isEmpty else {
            _ = try await catalog.query(activate, deadline: deadline)
            return
        }
        _ = try await catalog.pipeline(
            [
                Statement("begin"),
                // Moves publish beside this.
                Statement("lock table catalog.topology in share row exclusive mode"),
                Statement(
                    """
                    insert into catalog.topology (epoch, reason)
                    select greatest($1, coalesce(max(epoch), 0) + 1), $2 from catalog.topology
                    """, [change.epoch, "shard \(name) added"]),
                Statement(
                    """
                    insert into catalog.slots (slot, shard_id, epoch)
                    select slot, $2::int8::int4, $3 from unnest($1::int8[]) as s (slot)
                    on conflict (slot) do update
                    set shard_id = excluded.shard_id, epoch = excluded.epoch
                    """, [slots, change.shard.id.number, change.epoch]),
                activate,
                Statement("commit"),
            ], deadline: deadline)
    }
}
