import Postgres
import ShardRouter
import TestKit
import Testing

@Suite struct RingHashServerTests {
    @Test(arguments: [0, 1, -1, .min, .max, 4_611_686_018_427_387_905] as [Int64])
    func `PostgreSQL confirms a thousand hashes`(seed: Int64) async throws {
        let server = try PostgresServer.start()
        let deadline = ContinuousClock.now + .seconds(30)
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString()), deadline: deadline)
        defer { connection.close() }
        let rooms = sampleRooms()

        let rows = try await connection.query(
            """
            select hashtextextended(room, $2),
                ((hashtextextended(room, $2) >> 50) & 16383)::int4 as slot
            from unnest($1::text[]) with ordinality as r (room, place) order by place
            """, [rooms, seed], deadline: deadline)

        #expect(rows.count == 1_000)
        let ring = RingHash(seed: seed)
        for (room, row) in zip(rooms, rows) {
            #expect(try row.get(0, as: Int64.self) == ring.hash(RoomID(room)), "room \(room)")
            #expect(try row.get("slot", as: Int.self) == ring.slot(of: RoomID(room)).number)
        }
    }

    /// Empty, every short length, non-ASCII, long, and random ones.
    private func sampleRooms() -> [String] {
        var generator = SeededGenerator(seed: 1)
        var rooms = (0...60).map { String(repeating: "r", count: $0) }
        rooms += ["Zürich", "e\u{301}", "\u{e9}", "日本語の部屋", "🎉🎉", "עברית", "a b\tc\n"]
        rooms.append(String(repeating: "lang-", count: 4_000))
        while rooms.count < 1_000 {
            let length = Int.random(in: 1...48, using: &generator)
            let scalars = (0..<length).map { _ in
                Unicode.Scalar(UInt32.random(in: 1...0x2fff, using: &generator)) ?? "x"
            }
            rooms.append(String(String.UnicodeScalarView(scalars)))
        }
        return rooms
    }
}
