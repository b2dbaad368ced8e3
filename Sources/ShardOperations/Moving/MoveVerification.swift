import Postgres
import ShardRouter

/// What the rows of one slot of one table add up to.
struct RowSum: Sendable, Equatable {
    var rows: Int64 = 0
    /// Of the rows' 64-bit hashes, modulo 2⁶⁴: the order of the rows does not matter.
    var hash: UInt64 = 0

    static func - (one: RowSum, other: RowSum) -> RowSum {
        RowSum(rows: one.rows - other.rows, hash: one.hash &- other.hash)
    }

    /// From a count and the exact sum of signed hashes as text, which may exceed 64 bits.
    init(_ rows: Int64, _ text: String) throws {
        guard let hash = Self.modulo64(text) else {
            throw OperationError.failed("a checksum is not a number")
        }
        (self.rows, self.hash) = (rows, hash)
    }

    init(rows: Int64 = 0, hash: UInt64 = 0) {
        (self.rows, self.hash) = (rows, hash)
    }

    private static func modulo64(_ text: String) -> UInt64? {
        var value: UInt64 = 0
        let isNegative = text.hasPrefix("-")
        for digit in text.utf8.dropFirst(isNegative ? 1 : 0) {
            guard (48...57).contains(digit) else { return nil }
            value = value &* 10 &+ UInt64(digit - 48)
        }
        return isNegative ? 0 &- value : value
    }
}

/// Sums of the rows of a move in one database.
struct RowSums: Sendable {
    /// Rows that are asked for with one question.
    private static let keysPerQuestion = 5_000

    let slots: [Int]
    let seed: Int64

    /// By slot. Reads every row once; by way of the rooms when they are a small part of the table.
    func bySlot(_ table: MoveTable, _ connection: PostgresConnection) async throws -> [Int: RowSum]
    {
        let slot = SlotFilter.slot("t.room_id", seed: seed)
        let sums = "select (\(slot))::int4, count(*), sum(\(table.rowHash))::text"
        let whole =
            "\(sums) from \(table.name) t "
            + "where \(SlotFilter(slots: slots, seed: seed).sql) group by 1"
        guard table.roomIndex != nil else { return try await bySlot(whole, [], connection) }
        let found = try await MoveRooms(table: table, slots: slots, seed: seed).read(connection)
        guard found.rooms.count < found.total / 4 else {
            return try await bySlot(whole, [], connection)
        }
        return try await bySlot(
            "\(sums) from unnest($1::text[]) r (room) join \(table.name) t on t.room_id = r.room "
                + "group by 1", [found.rooms], connection)
    }

    /// By slot, of the rows with these keys alone.
    func bySlot(
        _ table: MoveTable, keys: Set<RowKey>, _ connection: PostgresConnection
    ) async throws -> [Int: RowSum] {
        let slot = SlotFilter.slot("t.room_id", seed: seed)
        var sums: [Int: RowSum] = [:]
        for part in Self.parts(keys) {
            let (join, arrays) = Self.join(table, part)
            let some = try await bySlot(
                "select (\(slot))::int4, count(*), sum(\(table.rowHash))::text \(join) group by 1",
                arrays, connection)
            sums.merge(some) {
                var sum = $0
                sum.rows += $1.rows
                sum.hash &+= $1.hash
                return sum
            }
        }
        return sums
    }

    /// By key; a key without rows is absent.
    static func byKey(
        _ table: MoveTable, keys: Set<RowKey>, _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws -> [RowKey: RowSum] {
        var sums: [RowKey: RowSum] = [:]
        for part in parts(keys) {
            let (join, arrays) = join(table, part)
            let rows = try await connection.query(
                "select k.place, count(*), sum(\(table.rowHash))::text \(join) group by 1",
                arrays, deadline: deadline)
            for row in rows {
                let place: Int = try row.get(0)
                sums[part[place - 1]] = try RowSum(try row.get(1), try row.get(2))
            }
        }
        return sums
    }

    private func bySlot(
        _ sql: String, _ parameters: [any PostgresEncodable], _ connection: PostgresConnection
    ) async throws -> [Int: RowSum] {
        let rows = try await connection.query(
            Statement(sql, parameters, isPrepared: false), deadline: .now + .seconds(86_400))
        var sums: [Int: RowSum] = [:]
        for row in rows {
            sums[try row.get(0)] = try RowSum(try row.get(1), try row.get(2))
        }
        return sums
    }

    private static func parts(_ keys: Set<RowKey>) -> [[RowKey]] {
        let all = Array(keys)
        return stride(from: 0, to: all.count, by: keysPerQuestion).map {
            Array(all[$0..<min($0 + keysPerQuestion, all.count)])
        }
    }

    /// The rows `t` of `table` that have one of the keys `k`.
    private static func join(
        _ table: MoveTable, _ keys: [RowKey]
    ) -> (sql: String, arrays: [any PostgresEncodable]) {
        let columns =
            table.key.isEmpty ? table.columns.filter { $0.name == "room_id" } : table.key
        let names = columns.indices.map { "k\($0)" }
        let arrays = columns.indices.map { place in keys.map { $0[place] } }
        let parameters = columns.indices.map { "$\($0 + 1)::text[]" }
        let conditions = zip(columns, names).map { column, name in
            "t.\(sqlName(column.name)) = k.\(name)::\(column.type)"
        }
        return (
            "from unnest(\(parameters.joined(separator: ", "))) with ordinality "
                + "as k (\(names.joined(separator: ", ")), place) join \(table.name) t "
                + "on \(conditions.joined(separator: " and "))", arrays
        )
    }
}

/// Shows that both sides of a move hold the same rows: checksums of every slot and table at one point
/// of the log, and, row by row, what has changed since.
///
/// The whole is compared while the target catches up. Rows that change meanwhile are known from the
/// source's log (``ChangeWatch``); they are taken out of both sums and compared by themselves, over
/// and over, until only those of the last moment are left. These are compared behind the fence.
struct MoveVerification: Sendable {
    let move: Move
    let tables: [MoveTable]
    let watch: ChangeWatch

    private var sums: RowSums { RowSums(slots: move.slots, seed: move.seed) }

    /// Compares everything.
    ///
    /// - Parameters:
    ///   - source: in a transaction with the snapshot from which `watch` follows the log.
    ///   - target: a session without transaction.
    ///   - catchUp: makes a mark at the source and waits until the target and the watch have seen it.
    /// - Returns: the rows that changed meanwhile and are still to be compared, and how many rows
    ///   the moved slots have.
    /// - Throws: ``MoveError/differs(_:)``.
    func compareAll(
        source: PostgresConnection, target: PostgresConnection, catchUp: () async throws -> Void
    ) async throws -> (changed: [String: Set<RowKey>], rows: Int64) {
        try await catchUp()
        return try await target.transaction(
            "begin isolation level repeatable read read only", deadline: .now + MoveLinks.patience
        ) {
            async let atSource = all(source)
            async let atTarget = all(target)
            let (one, other) = try await (atSource, atTarget)
            try await catchUp()
            let changed = watch.take()
            for table in tables {
                let keys = changed[table.logName] ?? []
                let first = try await sums.bySlot(table, keys: keys, source)
                let second = try await sums.bySlot(table, keys: keys, target)
                for slot in move.slots {
                    let left = one[table.name]?[slot] ?? RowSum()
                    let right = other[table.name]?[slot] ?? RowSum()
                    guard left - (first[slot] ?? RowSum()) == right - (second[slot] ?? RowSum())
                    else {
                        throw MoveError.differs(
                            "slot \(slot) of \(table.name): \(left.rows) rows at "
                                + "\(move.source.name), \(right.rows) at \(move.target.name), or "
                                + "another content")
                    }
                }
            }
            return (changed, one.values.flatMap(\.values).reduce(0) { $0 + $1.rows })
        }
    }

    private func all(_ connection: PostgresConnection) async throws -> [String: [Int: RowSum]] {
        var all: [String: [Int: RowSum]] = [:]
        for table in tables { all[table.name] = try await sums.bySlot(table, connection) }
        return all
    }

    /// Compares `changed` while the source goes on changing.
    ///
    /// - Returns: the rows that changed again, and those that did so since.
    func compareAgain(
        _ changed: [String: Set<RowKey>], source: PostgresConnection, target: PostgresConnection,
        catchUp: () async throws -> Void
    ) async throws -> [String: Set<RowKey>] {
        try await catchUp()
        let deadline = ContinuousClock.now + .seconds(600)
        let pairs = try await read(changed, source: source, target: target, deadline: deadline)
        try await catchUp()
        let later = watch.take()
        for pair in pairs {
            try check(pair, except: later[pair.table.logName] ?? [])
        }
        return later
    }

    /// Compares `changed` behind the fence, where nothing changes any more.
    func compareLast(
        _ changed: [String: Set<RowKey>], source: PostgresConnection, target: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws {
        for pair in try await read(changed, source: source, target: target, deadline: deadline) {
            try check(pair, except: [])
        }
    }

    private struct Pair {
        var table: MoveTable
        var keys: Set<RowKey>
        var atSource: [RowKey: RowSum]
        var atTarget: [RowKey: RowSum]
    }

    private func read(
        _ changed: [String: Set<RowKey>], source: PostgresConnection, target: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws -> [Pair] {
        var pairs: [Pair] = []
        for table in tables {
            guard let keys = changed[table.logName], !keys.isEmpty else { continue }
            async let one = RowSums.byKey(table, keys: keys, source, deadline: deadline)
            async let other = RowSums.byKey(table, keys: keys, target, deadline: deadline)
            pairs.append(
                Pair(table: table, keys: keys, atSource: try await one, atTarget: try await other))
        }
        return pairs
    }

    private func check(_ pair: Pair, except later: Set<RowKey>) throws {
        for key in pair.keys.subtracting(later) where pair.atSource[key] != pair.atTarget[key] {
            let room = pair.table.key.firstIndex { $0.name == "room_id" } ?? 0
            throw MoveError.differs(
                "a row of room \(key[room]) in \(pair.table.name) differs between "
                    + "\(move.source.name) and \(move.target.name)")
        }
    }
}
