public import Postgres
public import ShardRouter

/// Slots that plans leave on, or bring to, one shard.
public struct SlotPins: Sendable {
    /// One slot and its shard.
    public struct Pin: Sendable, Equatable {
        public var slot: Slot
        /// The shard that it belongs to, by name.
        public var shard: String
        /// The shard that owns it now; nil while nobody does.
        public var owner: String?
        public var reason: String
        public var pinnedAt: Timestamp
        public var isThere: Bool { shard == owner }
    }

    let cluster: Cluster

    public init(cluster: Cluster) {
        self.cluster = cluster
    }

    /// All pins, by slot.
    public func list() async throws -> [Pin] {
        try await cluster.withCatalog { catalog in
            try await Self.requireJournal(catalog)
            return try await Self.pins(catalog, of: nil)
        }
    }

    /// Pins `slot`, or changes its pin. Nothing moves by this.
    public func pin(_ slot: Slot, to name: String, reason: String) async throws -> Pin {
        let deadline = ContinuousClock.now + Cluster.patience
        return try await cluster.withCatalog { catalog in
            try await Self.requireJournal(catalog)
            try await Cluster.lockTopology(catalog, deadline: deadline)
            let topology = try await cluster.topology(catalog, deadline: deadline)
            guard let shard = topology.shard(named: name) else {
                throw OperationError.refused(
                    "there is no shard '\(name)'", next: "shardctl shard list")
            }
            guard shard.state == .active else {
                throw OperationError.refused(
                    "shard \(name) is \(shard.state.rawValue), so no plan brings slots to it",
                    next: "shardctl shard list")
            }
            _ = try await catalog.query(
                """
                insert into catalog.pins (slot, shard_id, reason)
                values ($1::int8::int4, $2::int8::int4, $3)
                on conflict (slot) do update
                set shard_id = excluded.shard_id, reason = excluded.reason, pinned_at = now()
                """, [slot.number, shard.id.number, reason], deadline: deadline)
            return try await Self.pins(catalog, of: slot)[0]
        }
    }

    /// Takes the pin of `slot` away; the slot stays where it is until a plan moves it.
    public func unpin(_ slot: Slot) async throws -> Pin {
        let deadline = ContinuousClock.now + Cluster.patience
        return try await cluster.withCatalog { catalog in
            try await Self.requireJournal(catalog)
            try await Cluster.lockTopology(catalog, deadline: deadline)
            guard let pin = try await Self.pins(catalog, of: slot).first else {
                throw OperationError.refused(
                    "slot \(slot) is not pinned", next: "shardctl slot pins")
            }
            _ = try await catalog.query(
                "delete from catalog.pins where slot = $1", [slot.number], deadline: deadline)
            return pin
        }
    }

    /// The slots that are pinned, to whatever shard; none while the catalog's schema is old.
    static func pinned(
        _ catalog: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Set<Int> {
        guard try await Cluster.hasJournal(catalog, deadline: deadline) else { return [] }
        let slots = try await catalog.query(
            "select coalesce(array_agg(slot::int8), '{}') from catalog.pins",
            deadline: deadline)[0].get(0, as: [Int].self)
        return Set(slots)
    }

    private static func requireJournal(_ catalog: PostgresConnection) async throws {
        guard try await Cluster.hasJournal(catalog, deadline: .now + Cluster.patience) else {
            throw OperationError.refused(
                "the catalog's schema is older than pins", next: "shardctl migrate up")
        }
    }

    private static func pins(
        _ catalog: PostgresConnection, of slot: Slot?
    ) async throws -> [Pin] {
        try await catalog.query(
            """
            select p.slot, s.name, o.name as owner, p.reason, p.pinned_at
            from catalog.pins p
            join catalog.shards s on s.id = p.shard_id
            left join catalog.slots l on l.slot = p.slot
            left join catalog.shards o on o.id = l.shard_id
            where $1 < 0 or p.slot = $1
            order by p.slot
            """, [slot?.number ?? -1], deadline: .now + Cluster.patience
        ).map { row in
            Pin(
                slot: Slot(try row.get(0)), shard: try row.get(1), owner: try row.get(2),
                reason: try row.get(3), pinnedAt: try row.get(4))
        }
    }
}
