import Postgres
public import ShardRouter

/// Gives a hot room, with the rooms that share its slot, to a shard of the operator's choice, and
/// pins it there: no plan takes it away.
public struct RoomIsolation: Sendable {
    public struct Outcome: Sendable {
        public var slot: Slot
        /// Rooms of the slot, the hot one among them.
        public var rooms: Int
        /// nil when the shard owned the slot already.
        public var move: Move?
    }

    let cluster: Cluster
    let room: RoomID
    let target: String
    let mover: Mover

    public init(
        cluster: Cluster, room: RoomID, target: String, limits: MoveLimits,
        onEvent: @escaping @Sendable (MoveEvent) -> Void
    ) {
        self.cluster = cluster
        self.room = room
        self.target = target
        mover = Mover(cluster: cluster, limits: limits, onEvent: onEvent)
    }

    public func run() async throws -> Outcome {
        let location = try await cluster.locate(room)
        let topology = try await cluster.topology()
        guard let shard = topology.shard(named: target) else {
            throw OperationError.refused(
                "there is no shard '\(target)'", next: "shardctl shard list")
        }
        guard shard.state == .active else {
            throw OperationError.refused(
                "shard \(target) is \(shard.state.rawValue) and takes no rooms",
                next: "shardctl shard list")
        }
        let (rooms, isKnown) = try await cluster.withShard(location.shard, of: topology) {
            let row = try await $0.query(
                """
                select count(*), count(*) filter (where room_id = $2) > 0 from public.rooms
                where shard.slot_of(room_id) = $1
                """, [location.slot.number, room.text], deadline: .now + Cluster.patience)[0]
            return (try row.get(0, as: Int.self), try row.get(1, as: Bool.self))
        }
        guard isKnown else {
            throw OperationError.refused(
                "there is no room '\(room.text)' on \(location.shard.name), where it would be",
                next: "shardctl status --hot")
        }
        try await pin(location.slot, to: shard)
        guard location.shard.id != shard.id else {
            return Outcome(slot: location.slot, rooms: rooms, move: nil)
        }
        let move = try await mover.move(
            [location.slot.number], from: location.shard, to: shard,
            reason: "room isolated on \(target)")
        return Outcome(slot: location.slot, rooms: rooms, move: move)
    }

    /// First the pin, so that no plan that is made meanwhile takes the slot elsewhere.
    private func pin(_ slot: Slot, to shard: Shard) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                """
                insert into catalog.pins (slot, shard_id, reason)
                values ($1::int8::int4, $2::int8::int4, $3)
                on conflict (slot) do update
                set shard_id = excluded.shard_id, reason = excluded.reason, pinned_at = now()
                """, [slot.number, shard.id.number, "room isolated"],
                deadline: .now + Cluster.patience)
        }
    }
}
