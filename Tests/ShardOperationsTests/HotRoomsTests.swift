import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct HotRoomsTests {
    /// Stores messages in rooms that the shard owns.
    private func store(
        _ databases: Databases, _ shard: String, _ room: String, _ count: Int
    ) async throws {
        try await databases.script(
            shard,
            """
            insert into rooms values ('\(room)') on conflict do nothing;
            insert into messages
            select r.room_id, r.head + n, gen_random_uuid(), 'a', now(), now(), 'text'
            from rooms r, generate_series(1, \(count)) n where r.room_id = '\(room)';
            update rooms set head = head + \(count) where room_id = '\(room)'
            """)
    }

    @Test func `rooms and slots come in the order of their rate, over all shards`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let hash = RingHash(seed: 7)
        let rooms = (0..<100).map { "room-\($0)" }
        let lower = rooms.filter { hash.slot(of: RoomID($0)).number < 8_192 }
        let upper = rooms.filter { hash.slot(of: RoomID($0)).number >= 8_192 }
        let old = lower[1]
        try await store(databases, "one", old, 500)
        try await store(databases, "one", lower[0], 10)
        try await databases.script("one", "analyze")
        // A copy that lives elsewhere is not hot.
        try await databases.script("two", "insert into rooms values ('\(lower[2])', 9999)")

        var hot = HotRooms(cluster: try databases.cluster(), pause: .seconds(1), top: 3)
        let writing = Gate()
        hot.wait = { _ in
            guard await writing.isLast(of: 2) else { return await writing.wait() }
            try await store(databases, "one", lower[0], 9_000)
            try await store(databases, "two", upper[0], 900)
            try await store(databases, "two", upper[1], 90)
            await writing.open()
        }
        let outcome = try await hot.run()

        #expect(outcome.rooms.map(\.room) == [lower[0], upper[0], upper[1]])
        #expect(outcome.rooms.map(\.shard) == ["one", "two", "two"])
        // The room's own row is one of them.
        #expect(outcome.rooms.map(\.rows) == [9_011, 901, 91])
        #expect(outcome.rooms[0].bytes > 0)
        #expect(outcome.slots.map(\.slot) == outcome.rooms.map(\.slot))
        #expect(outcome.slots.map(\.rows) == [9_010, 900, 90])
        let rates = outcome.rooms.map(\.messagesPerSecond)
        #expect(rates == rates.sorted(by: >) && rates[2] > 0)
        #expect(outcome.away.isEmpty)
    }

    @Test func `the command answers with its keys, and status with those of moves`()
        async throws
    {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        try await store(databases, "one", "lobby", 3)
        try await databases.script("one", "update shard.slots set state = 'active'")
        try await databases.openMove([5])
        try await databases.script(
            "catalog",
            """
            insert into catalog.moves (source_id, target_id, slots, epochs, state, reason, verified_at)
            values (1, 2, '{5}', '{1}', 'done', 'test', '2026-01-02 03:04:05Z')
            """)

        let hot = try await databases.shardctl.run(
            "status", "--hot", "--seconds", "1", "--top", "2")
        let status = try await databases.shardctl.run("status")

        #expect(hot.code == 0)
        #expect(Set(hot.json.keys) == ["seconds", "rooms", "slots", "away"])
        let rooms = try #require(hot.json["rooms"] as? [[String: Any]])
        let slots = try #require(hot.json["slots"] as? [[String: Any]])
        let common: Set<String> = ["slot", "shard", "messagesPerSecond", "rows", "bytes"]
        #expect(rooms.map { Set($0.keys) } == [common.union(["room"])])
        #expect(slots.map { Set($0.keys) } == [common.union(["rooms"])])
        #expect(status.json["openMoves"] as? Int == 1)
        #expect(status.json["oldCopies"] as? Int == 1)
        let shards = try #require(status.json["shards"] as? [[String: Any]])
        #expect(shards.map { $0["oldCopies"] as? Int } == [1, 0])
        #expect(
            shards.map { $0["lastVerified"] as? String } == [
                "2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05.000Z",
            ])
    }
}

/// Lets all but the last that comes wait for it.
private actor Gate {
    private var arrived = 0
    private var isOpen = false
    private var waiters: [CheckedContinuation<Void, Never>] = []

    /// Whether this is the last of `count` to come.
    func isLast(of count: Int) -> Bool {
        arrived += 1
        return arrived == count
    }

    func wait() async {
        guard !isOpen else { return }
        await withCheckedContinuation { waiters.append($0) }
    }

    func open() {
        isOpen = true
        waiters.forEach { $0.resume() }
    }
}
