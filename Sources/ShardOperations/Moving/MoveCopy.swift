import Postgres
import ShardRouter
import Synchronization

/// Step 4: the rows of a move's slots, as they are in one snapshot of the source, go to the target;
/// what changes afterwards waits in the replication slot.
struct MoveCopy: Sendable {
    private static let publishAttempts = 10

    let links: MoveLinks
    let tables: [MoveTable]
    let limits: MoveLimits
    let watch: MoveWatch
    let gate = MoveGate()
    let counts = CopyCounts()

    var move: Move { links.move }

    /// One transaction's worth.
    private struct Chunk: Sendable {
        var table: MoveTable
        /// Ascending; nil: all of the move's rows in this table.
        var rooms: [String]?
    }

    private final class Queue: Sendable {
        private let chunks: Mutex<[Chunk]>

        init(_ chunks: [Chunk]) {
            self.chunks = Mutex(chunks.reversed())
        }

        func next() -> Chunk? { chunks.withLock { $0.popLast() } }
    }

    /// Makes publication and replication slot, and copies in the slot's snapshot.
    ///
    /// - Parameter waits: told what the slot's creation waits for.
    /// - Returns: the timeline of the source's log.
    func run(waits: @escaping @Sendable (String) -> Void) async throws -> Int {
        let control = try await links.source()
        defer { control.close() }
        try await publish(control)
        try await watch.reached(.published, move)
        let replication = try await links.source(replication: true)
        defer { replication.close() }
        let snapshot = try await makeSlot(replication, control, waits)
        try await watch.reached(.slotMade, move)
        let timeline: Int = try await control.query(
            "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4",
            deadline: patience)[0].get(0)
        var readers: [PostgresConnection] = []
        defer { readers.forEach { $0.close() } }
        for _ in 0..<limits.workers {
            let reader = try await links.source()
            readers.append(reader)
            try await reader.script(
                "begin isolation level repeatable read read only; "
                    + "set transaction snapshot \(literal(snapshot))", deadline: patience)
        }
        // The snapshot lives in the readers now.
        replication.close()
        try await copy(readers)
        return timeline
    }

    private var patience: ContinuousClock.Instant { .now + MoveLinks.patience }

    private func publish(_ control: PostgresConnection) async throws {
        let parts =
            tables.map { "\($0.name) where (\(move.rowFilter))" } + [
                "shard.move_marks where (move_id = \(move.id))"
            ]
        // Whoever waits for a lock makes everybody behind it wait: short tries, a few of them.
        for attempt in 1...Self.publishAttempts {
            do throws(PostgresError) {
                return try await control.script(
                    """
                    set lock_timeout = '500ms';
                    create publication \(move.name) for table \(parts.joined(separator: ", "))
                    with (publish = 'insert, update, delete');
                    reset lock_timeout
                    """, deadline: patience)
            } catch {
                guard error.sqlState == "55P03", attempt < Self.publishAttempts else { throw error }
            }
            try await Task.sleep(for: .milliseconds(200) * attempt)
        }
    }

    /// The server finishes this only when every transaction that wrote before it has ended, in all
    /// its databases.
    private func makeSlot(
        _ replication: PostgresConnection, _ control: PostgresConnection,
        _ waits: @escaping @Sendable (String) -> Void
    ) async throws -> String {
        try await withThrowingTaskGroup(of: String?.self) { group in
            group.addTask {
                let cells = try await replication.command(
                    "CREATE_REPLICATION_SLOT \(move.name) LOGICAL pgoutput (SNAPSHOT 'export')",
                    deadline: .now + .seconds(3_600))
                guard let snapshot = cells.first?[2] else {
                    throw OperationError.failed("the source exported no snapshot")
                }
                return snapshot
            }
            group.addTask {
                while !Task.isCancelled {
                    try await Task.sleep(for: .seconds(1))
                    if let writer = try await MovePreflight.oldestWriter(control) { waits(writer) }
                }
                return nil
            }
            defer { group.cancelAll() }
            guard let snapshot = try await group.next() ?? nil else {
                throw OperationError.failed("the source exported no snapshot")
            }
            return snapshot
        }
    }

    private func copy(_ readers: [PostgresConnection]) async throws {
        var chunks: [Chunk] = []
        for table in tables {
            chunks += try await self.chunks(of: table, readers[0])
        }
        let queue = Queue(chunks)
        counts.begin()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for reader in readers {
                group.addTask {
                    let writer = try await links.target()
                    defer { writer.close() }
                    _ = try await writer.query(
                        "set synchronous_commit = off", deadline: patience)
                    while let chunk = queue.next() {
                        try await copy(chunk, from: reader, to: writer)
                        try await watch.reached(.chunkCopied, move)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private func chunks(
        of table: MoveTable, _ reader: PostgresConnection
    ) async throws -> [Chunk] {
        guard table.roomIndex != nil else {
            counts.expect(
                table.estimatedRows * Int64(move.slots.count) / Int64(Slot.count))
            return [Chunk(table: table, rooms: nil)]
        }
        let found = try await MoveRooms(table: table, slots: move.slots, seed: move.seed)
            .read(reader)
        let perRoom = max(1, table.estimatedRows / Int64(max(1, found.total)))
        counts.expect(perRoom * Int64(found.rooms.count))
        let size = max(1, limits.rowsPerChunk / Int(perRoom))
        return stride(from: 0, to: found.rooms.count, by: size).map {
            Chunk(
                table: table,
                rooms: Array(found.rooms[$0..<min($0 + size, found.rooms.count)]))
        }
    }

    private func copy(
        _ chunk: Chunk, from reader: PostgresConnection, to writer: PostgresConnection
    ) async throws {
        let forever = ContinuousClock.now + .seconds(7 * 86_400)
        let table = chunk.table
        let rows = try await writer.transaction(deadline: patience) {
            try await writer.step(
                "move_hold($1, $2::int8[]::int4[], 'importing')", [move.id, move.slots],
                deadline: forever)
            // Rows arrive as they are at the source: no triggers, no checks of foreign keys.
            _ = try await writer.query(
                "set local session_replication_role = replica", deadline: patience)
            return try await writer.copyIn(
                "copy \(table.name) (\(table.columnList)) from stdin (format binary)",
                deadline: forever
            ) { sink in
                try await reader.copyOut(
                    "copy (\(source(chunk))) to stdout (format binary)", deadline: forever
                ) { bytes in
                    try await gate.pass(bytes.count)
                    try await sink.write(bytes)
                }
            }
        }
        counts.copied(rows: rows)
    }

    private func source(_ chunk: Chunk) -> String {
        let table = chunk.table
        let columns = table.columns.map { "t." + sqlName($0.name) }.joined(separator: ", ")
        guard let rooms = chunk.rooms else {
            return "select \(columns) from \(table.name) t where \(move.rowFilter) "
                + "order by \(table.order)"
        }
        // One look into the index for each room, in its order: nothing is sorted.
        return """
            select t.* from unnest(\(literal(rooms))) r (room) cross join lateral (
                select \(columns) from \(table.name) t where t.room_id = r.room
                order by \(table.order)) t
            """
    }
}

/// What was copied so far.
final class CopyCounts: Sendable {
    private struct Contents {
        var rows: Int64 = 0
        var expected: Int64 = 0
        var start: ContinuousClock.Instant?
    }

    private let contents = Mutex(Contents())

    var rows: Int64 { contents.withLock(\.rows) }
    var expected: Int64 { contents.withLock(\.expected) }
    var elapsed: Duration { contents.withLock { $0.start.map { .now - $0 } ?? .zero } }

    func begin() { contents.withLock { $0.start = .now } }
    func expect(_ rows: Int64) { contents.withLock { $0.expected += rows } }
    func copied(rows: Int) { contents.withLock { $0.rows += Int64(rows) } }
}

/// The rooms that a table has in a set of slots.
struct MoveRooms: Sendable {
    let table: MoveTable
    let slots: [Int]
    let seed: Int64

    /// In the order of their bytes, with the number of all rooms of the table beside them.
    ///
    /// From room to room through an index that begins with `room_id`: the cost grows with the number
    /// of rooms, not of rows.
    func read(_ connection: PostgresConnection) async throws -> (rooms: [String], total: Int) {
        let filter = SlotFilter(slots: slots, seed: seed).sql
        let row = try await connection.query(
            Statement(
                """
                with recursive rooms as (
                    (select room_id from \(table.name) order by room_id limit 1)
                    union all
                    select (select t.room_id from \(table.name) t where t.room_id > r.room_id
                        order by t.room_id limit 1)
                    from rooms r where r.room_id is not null)
                select coalesce(array_agg(room_id) filter (where \(filter)), '{}'), count(room_id)
                from rooms
                """, isPrepared: false), deadline: .now + .seconds(3_600))[0]
        let rooms: [String] = try row.get(0)
        return (rooms.map { RoomID($0) }.sorted().map(\.text), try row.get(1))
    }
}
