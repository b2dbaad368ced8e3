import Postgres
public import ShardRouter

/// Measures what the slots carry, at all shards at once.
public struct LoadReader: Sendable {
    /// What was found out.
    public struct Reading: Sendable {
        public var loads = SlotLoads()
        /// Why a shard's loads are missing, by its name.
        public var problems: [String: String] = [:]
    }

    /// Counting reads every row of a shard.
    static let patience = Duration.seconds(1_800)

    let cluster: Cluster
    let topology: Topology
    /// Passes the time between two looks at the rooms' counters; a rate comes from both.
    var pause: @Sendable () async throws -> Void = { try await Task.sleep(for: .seconds(5)) }

    public init(cluster: Cluster, topology: Topology) {
        self.cluster = cluster
        self.topology = topology
    }

    /// Rows and bytes of every registered table, and with `withRate` the messages in a second.
    /// Only slots that a shard owns count there: what a purge has not reached yet is nobody's load.
    public func read(withRate: Bool) async -> Reading {
        await withTaskGroup(of: (Shard, Result<[SlotLoad], any Error>).self) { group in
            for shard in topology.shards where shard.state != .retired {
                group.addTask {
                    do {
                        return (shard, .success(try await read(shard, withRate: withRate)))
                    } catch {
                        return (shard, .failure(error))
                    }
                }
            }
            return await group.reduce(into: Reading()) { reading, answer in
                switch answer.1 {
                case .success(let loads):
                    for load in loads where topology.owners[load.slot] == answer.0.id {
                        reading.loads.rows[load.slot] += load.rows
                        reading.loads.bytes[load.slot] += load.bytes
                        reading.loads.rate[load.slot] += load.rate
                    }
                case .failure(let error): reading.problems[answer.0.name] = "\(error)"
                }
            }
        }
    }

    private struct SlotLoad {
        var slot: Int
        var rows: Int64 = 0
        var bytes: Int64 = 0
        var rate = 0.0
    }

    private func read(_ shard: Shard, withRate: Bool) async throws -> [SlotLoad] {
        guard !topology.owners.isEmpty else { return [] }
        return try await cluster.withShard(shard, of: topology) { connection in
            let deadline = ContinuousClock.now + Self.patience
            var loads: [SlotLoad] = []
            // Names in this table are written as identifiers by register_table.
            for row in try await connection.query(
                "select table_name from shard.tables order by 1", deadline: deadline)
            {
                let rows = try await connection.query(
                    """
                    select ((hashtextextended(t.room_id, $1) >> 50) & 16383)::int4, count(*),
                        sum(pg_column_size(t.*))::int8
                    from \(try row.get(0, as: String.self)) t group by 1
                    """, [topology.seed], deadline: deadline)
                loads += try rows.map { row throws(PostgresError) in
                    SlotLoad(
                        slot: try row.get(0), rows: try row.get(1),
                        bytes: try row.get(2, as: Int64?.self) ?? 0)
                }
            }
            return withRate ? loads + (try await rates(connection, deadline)) : loads
        }
    }

    private func rates(
        _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws -> [SlotLoad] {
        let first = try await heads(connection, deadline)
        try await pause()
        let second = try await heads(connection, deadline)
        let seconds = Double(second.microseconds - first.microseconds) / 1_000_000
        guard seconds > 0 else { return [] }
        return second.bySlot.compactMap { slot, head in
            let grown = head - first.bySlot[slot, default: 0]
            return grown > 0 ? SlotLoad(slot: slot, rate: Double(grown) / seconds) : nil
        }
    }

    /// The sum of the rooms' counters of each slot, and when that was.
    private func heads(
        _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws -> (microseconds: Int64, bySlot: [Int: Int64]) {
        let rows = try await connection.query(
            """
            select -1, (extract(epoch from now()) * 1000000)::int8
            union all
            select ((hashtextextended(room_id, $1) >> 50) & 16383)::int4, sum(head)::int8
            from public.rooms group by 1
            """, [topology.seed], deadline: deadline)
        var (now, bySlot): (Int64, [Int: Int64]) = (0, [:])
        for row in rows {
            let slot: Int = try row.get(0)
            if slot < 0 { now = try row.get(1) } else { bySlot[slot] = try row.get(1) }
        }
        return (now, bySlot)
    }
}
