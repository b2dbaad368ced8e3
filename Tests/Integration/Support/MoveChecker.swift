import FoundationEssentials
import Postgres
import ShardRouter
import Synchronization
import TestKit

/// Holds what the shards and the catalog say against the callers' own ledger, while they write.
final class MoveChecker: Sendable {
    private struct Seen {
        /// By seq, from 1.
        var ids: [UUID] = []
        var digest = ""
    }

    private let cluster: TestCluster
    private let seen = Mutex<[RoomID: Seen]>([:])

    init(_ cluster: TestCluster) {
        self.cluster = cluster
    }

    /// What is wrong; empty: nothing.
    func violations(_ traffic: Traffic) async throws -> [String] {
        try await owners() + cluster.leftovers() + messages(traffic)
    }

    /// Every slot is active on one shard, the one that the catalog names, with its epoch.
    private func owners() async throws -> [String] {
        let catalog = try await cluster.catalogConnection()
        defer { catalog.close() }
        var wrong: [String] = []
        for shard in cluster.servers.indices.map({ $0 + 1 }) {
            let digest = "md5(string_agg(epoch::text, ',' order by slot)), count(*)"
            let atCatalog = try await catalog.query(
                "select \(digest) from catalog.slots where shard_id = \(shard)",
                deadline: .now + .seconds(20))[0]
            let atShard = try await cluster.rows(
                shard: shard,
                """
                select \(digest) from shard.slots where state = 'active'
                """)[0]
            let expected: String? = try atCatalog.get(0)
            guard try atShard.get(0) != expected else { continue }
            let counts: (Int, Int) = (try atCatalog.get(1), try atShard.get(1))
            wrong.append(
                "the catalog gives \(counts.0) slots to shard \(shard), which is active for "
                    + "\(counts.1), or their epochs differ")
        }
        return wrong
    }

    /// Every acknowledged id exactly once, with its seq; no hole; the order of the calls.
    private func messages(_ traffic: Traffic) async throws -> [String] {
        var wrong: [String] = []
        let acknowledged = traffic.acknowledged
        var shards: [PostgresConnection] = []
        defer { shards.forEach { $0.close() } }
        for shard in cluster.servers.indices {
            shards.append(try await cluster.operatorConnection(shard: shard + 1))
        }
        for (room, seqs) in acknowledged {
            guard let active = try await self.active(room, shards) else {
                wrong.append("\(room): active on no shard, or on two")
                continue
            }
            var seen = self.seen.withLock { $0[room] ?? Seen() }
            wrong += try await read(room, active, &seen)
            let given = traffic.given[room] ?? []
            if !given.starts(with: seen.ids) { wrong.append("\(room): not the order of the calls") }
            for (id, seq) in seqs
            where !seen.ids.indices.contains(Int(seq) - 1) || seen.ids[Int(seq) - 1] != id {
                wrong.append("\(room): message \(id), acknowledged with seq \(seq), is lost")
            }
            self.seen.withLock { $0[room] = seen }
        }
        return wrong
    }

    private func active(
        _ room: RoomID, _ shards: [PostgresConnection]
    ) async throws -> PostgresConnection? {
        var found: [PostgresConnection] = []
        for shard in shards {
            let count: Int = try await shard.query(
                "select count(*) from shard.slots where slot = shard.slot_of($1) "
                    + "and state = 'active'", [room.text], deadline: .now + .seconds(20))[0].get(0)
            if count == 1 { found.append(shard) }
        }
        return found.count == 1 ? found[0] : nil
    }

    private func read(
        _ room: RoomID, _ shard: PostgresConnection, _ seen: inout Seen
    ) async throws -> [String] {
        var wrong: [String] = []
        let digest = """
            coalesce(md5(string_agg(seq || ':' || id, ',' order by seq)
                filter (where seq <= $2)), '')
            """
        let row = try await shard.query(
            """
            select count(*), coalesce(max(seq), 0), count(distinct id), \(digest),
                (select head from rooms where room_id = $1)
            from messages where room_id = $1
            """, [room.text, Int64(seen.ids.count)], deadline: .now + .seconds(20))[0]
        let (count, last, distinct): (Int64, Int64, Int64) =
            (try row.get(0), try row.get(1), try row.get(2))
        if count != last { wrong.append("\(room): \(count) messages up to seq \(last)") }
        if count != distinct { wrong.append("\(room): an id is stored twice") }
        if try row.get(4, as: Int64.self) != last {
            wrong.append("\(room): head is not the last seq")
        }
        if try row.get(3, as: String.self) != seen.digest {
            wrong.append("\(room): messages that were there before have changed")
        }
        for row in try await shard.query(
            "select id from messages where room_id = $1 and seq > $2 and seq <= $3 order by seq",
            [room.text, Int64(seen.ids.count), last], deadline: .now + .seconds(20))
        {
            seen.ids.append(try row.get(0))
        }
        seen.digest = try await shard.query(
            "select \(digest) from messages where room_id = $1",
            [room.text, Int64(seen.ids.count)], deadline: .now + .seconds(20))[0].get(0)
        return wrong
    }
}

/// Looks at two shards, as often as it can, whether a slot is active on both; and whether anything
/// that only rises has fallen.
///
/// It looks at the first, at the second, and at the first again: a slot that is active at the first
/// with the same epoch both times was owned there in between.
final class OwnershipWatcher: Sendable {
    private struct Contents {
        var samples = 0
        var violations: Set<String> = []
        var highest: [[Int64]: Int64] = [:]
    }

    private struct Sample {
        /// The epoch where the slot is active, else 0.
        var active: [Int64]
        var epochs: [Int64]
        var barred: [Int64]
    }

    private let cluster: TestCluster
    private let slots: [Int]
    private let contents = Mutex(Contents())

    init(_ cluster: TestCluster, slots: [Int]) {
        self.cluster = cluster
        self.slots = slots
    }

    var samples: Int { contents.withLock(\.samples) }
    var violations: [String] { contents.withLock { $0.violations.sorted() } }

    /// Goes on until it is cancelled; a shard that is away is waited for.
    func run() async throws {
        while !Task.isCancelled {
            do throws(PostgresError) {
                try await watch()
            } catch {
                if case .cancelled = error { return }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private func watch() async throws(PostgresError) {
        var shards: [PostgresConnection] = []
        defer { shards.forEach { $0.close() } }
        for server in cluster.servers {
            shards.append(
                try await .connect(
                    try ConnectionSettings(server.connectionString()), deadline: .now + .seconds(2))
            )
        }
        for number in 0... {
            let (one, other) = (number % 2, 1 - number % 2)
            let before = try await look(shards[one])
            let between = try await look(shards[other])
            let after = try await look(shards[one])
            note(before, shard: one)
            note(between, shard: other)
            note(after, shard: one)
            contents.withLock { contents in
                contents.samples += 1
                for (index, slot) in slots.enumerated()
                where before.active[index] > 0 && before.active[index] == after.active[index]
                    && between.active[index] > 0
                {
                    contents.violations.insert("slot \(slot) is active on both shards")
                }
            }
        }
    }

    private func look(_ shard: PostgresConnection) async throws(PostgresError) -> Sample {
        let row = try await shard.query(
            """
            select array_agg(case when state = 'active' then epoch else 0 end order by slot),
                array_agg(epoch order by slot), array_agg(barred order by slot)
            from shard.slots where slot = any ($1::int8[]::int4[])
            """, [slots], deadline: .now + .seconds(5))[0]
        return Sample(
            active: try row.get(0), epochs: try row.get(1), barred: try row.get(2))
    }

    private func note(_ sample: Sample, shard: Int) {
        contents.withLock { contents in
            for (index, slot) in slots.enumerated() {
                for (kind, value) in [(0, sample.epochs[index]), (1, sample.barred[index])] {
                    let key = [Int64(shard), Int64(slot), Int64(kind)]
                    if value < contents.highest[key] ?? 0 {
                        contents.violations.insert(
                            "slot \(slot) at shard \(shard + 1): "
                                + (kind == 0 ? "its epoch" : "barred") + " fell to \(value)")
                    }
                    contents.highest[key] = value
                }
            }
        }
    }
}
