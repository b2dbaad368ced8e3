import FoundationEssentials
import Postgres
public import ShardRouter

/// Changes in a shard's life beside its addition. No slot changes its owner by any of them.
///
/// Each holds the lock of the topology, so no move is opened and no other change is made between
/// the checks and the change.
public struct ShardChanges: Sendable {
    /// What became of it.
    public struct Outcome: Sendable {
        public var shard: Shard
        /// The slots that it owns, by the catalog.
        public var slots: Int
        public var warnings: [String] = []
    }

    let cluster: Cluster

    public init(cluster: Cluster) {
        self.cluster = cluster
    }

    /// Changes the share that plans give to the shard.
    public func setWeight(_ name: String, to weight: Int) async throws -> Outcome {
        guard (0...1_000_000).contains(weight) else {
            throw OperationError.refused(
                "weight \(weight) is outside 0 … 1,000,000", next: "choose another --weight")
        }
        return try await change(name) { catalog, topology, shard, deadline in
            let others = topology.shards.contains {
                $0.id != shard.id && $0.state == .active && $0.weight > 0
            }
            guard weight > 0 || others else {
                throw OperationError.refused(
                    "no other active shard has a weight, so nobody could own the slots",
                    next: "shardctl shard list")
            }
            _ = try await catalog.query(
                "update catalog.shards set weight = $2::int8::int4 where id = $1",
                [shard.id.number, weight], deadline: deadline)
            return []
        }
    }

    /// The shard has a new address. The database there must be this shard, with its latest state.
    public func setEndpoint(_ name: String, to endpoint: String) async throws -> Outcome {
        try ShardAdding.check(endpoint: endpoint)
        return try await change(name) { catalog, topology, shard, deadline in
            if let taken = topology.shards.first(where: { $0.endpoint == endpoint }) {
                guard taken.id != shard.id else { return [] }
                throw OperationError.refused(
                    "shard \(taken.name) has this endpoint already",
                    next: "shardctl shard show \(taken.name)")
            }
            try await EndpointCheck(
                cluster: cluster, topology: topology, shard: shard, endpoint: endpoint
            ).run(catalog, deadline)
            _ = try await catalog.query(
                "update catalog.shards set endpoint = $2 where id = $1",
                [shard.id.number, endpoint], deadline: deadline)
            return []
        }
    }

    /// From now on plans bring the shard's slots to the others.
    ///
    /// - Parameter isUndoing: they leave it its share again.
    public func drain(_ name: String, isUndoing: Bool) async throws -> Outcome {
        try await change(name) { catalog, topology, shard, deadline in
            let (from, to): (ShardState, ShardState) =
                isUndoing ? (.draining, .active) : (.active, .draining)
            if shard.state != to {
                guard shard.state == from else {
                    throw OperationError.refused(
                        "shard \(name) is \(shard.state.rawValue), not \(from.rawValue)",
                        next: "shardctl shard list")
                }
                guard isUndoing || hasOtherOwner(topology, shard) else {
                    throw OperationError.refused(
                        "shard \(name) is the last active one with a weight: nobody could take "
                            + "its slots",
                        next: "shardctl shard add NAME --endpoint …")
                }
                try await set(shard, to: to, catalog, deadline)
            }
            guard !isUndoing else { return [] }
            let pins = try await burdens(of: shard, catalog, deadline).pins
            return pins == 0
                ? []
                : ["\(pins) slots are pinned to it: shardctl slot unpin, or pin them elsewhere"]
        }
    }

    /// Takes an empty shard out of the cluster for ever.
    ///
    /// - Parameters:
    ///   - isConfirmed: whether the operator has said yes.
    ///   - isLost: its server is gone for ever, so it is not asked what it owns.
    public func remove(_ name: String, isConfirmed: Bool, isLost: Bool) async throws -> Outcome {
        try await change(name) { catalog, topology, shard, deadline in
            if shard.state == .retired { return [] }
            let hasOthers = topology.shards.contains { $0.id != shard.id && $0.state == .active }
            guard shard.state != .active || hasOthers else {
                throw OperationError.refused(
                    "shard \(name) is the last active one",
                    next: "shardctl shard add NAME --endpoint …")
            }
            try checkSlots(topology, shard)
            let burdens = try await burdens(of: shard, catalog, deadline)
            try burdens.check(shard)
            if shard.state == .joining { try await checkPromises(topology, shard, deadline) }
            if !isLost { try await checkOwnTable(topology, shard, deadline) }
            guard isConfirmed else {
                let copies =
                    burdens.oldCopies == 0
                    ? ""
                    : "; \(burdens.oldCopies) old copies there are not purged yet, and no "
                        + "purge will find them any more"
                throw OperationError.refused(
                    "shard \(name) will be out of the cluster for ever\(copies)",
                    next: "shardctl shard remove \(name) --yes"
                        + (isLost ? " --lost" : "")
                        + (burdens.oldCopies == 0 ? "" : ", or first: shardctl move clean"))
            }
            try await set(shard, to: .retired, catalog, deadline)
            return burdens.oldCopies == 0
                ? [] : ["\(burdens.oldCopies) old copies stay in its database"]
        }
    }

    // MARK: - What all have in common

    private typealias Work = (
        PostgresConnection, Topology, Shard, ContinuousClock.Instant
    ) async throws -> [String]

    private func change(_ name: String, _ work: Work) async throws -> Outcome {
        let deadline = ContinuousClock.now + Cluster.patience
        return try await cluster.withCatalog { catalog in
            try await Cluster.lockTopology(catalog, deadline: deadline)
            let before = try await cluster.topology(catalog, deadline: deadline)
            guard let shard = before.shard(named: name) else {
                throw OperationError.refused(
                    "there is no shard '\(name)'", next: "shardctl shard list")
            }
            let warnings = try await work(catalog, before, shard, deadline)
            let after = try await cluster.topology(catalog, deadline: deadline)
            return Outcome(
                shard: after.shard(shard.id) ?? shard, slots: after.slotCounts[shard.id] ?? 0,
                warnings: warnings)
        }
    }

    private func set(
        _ shard: Shard, to state: ShardState, _ catalog: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) async throws {
        _ = try await catalog.query(
            "update catalog.shards set state = $2 where id = $1",
            [shard.id.number, state.rawValue], deadline: deadline)
    }

    private func hasOtherOwner(_ topology: Topology, _ shard: Shard) -> Bool {
        topology.shards.contains { $0.id != shard.id && $0.state == .active && $0.weight > 0 }
    }

    // MARK: - What keeps a shard in the cluster

    /// What the catalog still has to do with a shard.
    private struct Burdens {
        var openMoves: [Int] = []
        var pins = 0
        /// Copies that moves left behind, not purged yet.
        var oldCopies = 0

        func check(_ shard: Shard) throws {
            if let move = openMoves.first {
                throw OperationError.refused(
                    "shard \(shard.name) takes part in \(openMoves.count) open moves",
                    next: "shardctl move resume \(move)")
            }
            guard pins == 0 else {
                throw OperationError.refused(
                    "\(pins) slots are pinned to shard \(shard.name)", next: "shardctl slot pins")
            }
        }
    }

    private func burdens(
        of shard: Shard, _ catalog: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Burdens {
        guard try await Cluster.hasJournal(catalog, deadline: deadline) else { return Burdens() }
        let row = try await catalog.query(
            """
            select (select coalesce(array_agg(id order by id), '{}') from catalog.moves
                    where state = 'open' and $1 in (source_id, target_id)),
                (select count(*) from catalog.pins where shard_id = $1),
                (select count(*) from catalog.moves
                 where state = 'done' and purged_at is null and source_id = $1)
            """, [shard.id.number], deadline: deadline)[0]
        return Burdens(
            openMoves: try row.get(0), pins: try row.get(1), oldCopies: try row.get(2))
    }

    private func checkSlots(_ topology: Topology, _ shard: Shard) throws {
        let slots = topology.slotCounts[shard.id] ?? 0
        guard slots == 0 else {
            throw OperationError.refused(
                "shard \(shard.name) owns \(slots) slots",
                next: shard.state == .draining
                    ? "shardctl plan" : "shardctl shard drain \(shard.name)")
        }
    }

    /// The shard's own table is the authority.
    private func checkOwnTable(
        _ topology: Topology, _ shard: Shard, _ deadline: ContinuousClock.Instant
    ) async throws {
        let held: Int
        do {
            held = try await cluster.withShard(endpoint: shard.endpoint, name: shard.name) {
                let exists = try await $0.query(
                    "select to_regclass('shard.slots') is not null", deadline: deadline)[0]
                guard try exists.get(0, as: Bool.self) else { return 0 }
                return try await $0.query(
                    "select count(*) from shard.slots where state not in ('none', 'moved')",
                    deadline: deadline)[0].get(0, as: Int.self)
            }
        } catch {
            throw OperationError.failed(
                "shard \(shard.name) cannot be asked whether it owns anything: \(error)",
                next: "start its server; if it is gone for ever: shardctl shard remove "
                    + "\(shard.name) --lost --yes")
        }
        guard held == 0 else {
            throw OperationError.refused(
                "the own table of shard \(shard.name) says that it holds \(held) slots",
                next: "shardctl doctor")
        }
    }

    /// Slots that were let go for a shard whose addition was cut off have no other owner.
    private func checkPromises(
        _ topology: Topology, _ shard: Shard, _ deadline: ContinuousClock.Instant
    ) async throws {
        for owner in topology.shards where (topology.slotCounts[owner.id] ?? 0) > 0 {
            let promised = try await cluster.withShard(owner, of: topology) {
                try await $0.query(
                    "select count(*) from shard.slots where state = 'moved' and moved_to = $1",
                    [shard.id.number], deadline: deadline)[0].get(0, as: Int.self)
            }
            guard promised == 0 else {
                throw OperationError.refused(
                    "shard \(owner.name) has let \(promised) slots go for it already",
                    next: "shardctl shard add \(shard.name) --endpoint '\(shard.endpoint)' "
                        + "--weight \(shard.weight)")
            }
        }
    }
}
