import Postgres
import ShardRouter

/// Compares the old copy of a finished move with what the new owner has now.
public struct MoveAudit: Sendable {
    public struct Outcome: Sendable, Equatable {
        public var move: Int64
        /// Rows of the old copy that were looked at.
        public var rows: Int64 = 0
        /// Rows that the new owner has no more: deletes by the application since the move are among
        /// them.
        public var missing: Int64 = 0
        /// Rows that it has with another content: the application's updates, among them the row of
        /// each room that has got messages since.
        public var changed: Int64 = 0
    }

    private static let roomsPerQuestion = 50

    let cluster: Cluster
    let move: Move

    public init(cluster: Cluster, move: Move) {
        self.cluster = cluster
        self.move = move
    }

    /// - Throws: a refusal when there is nothing to compare any more.
    public func run() async throws -> Outcome {
        guard move.state == .done, move.purgedAt == nil else {
            throw OperationError.refused(
                move.state == .done
                    ? "the old copy of move \(move.id) is purged: there is nothing to compare with"
                    : "move \(move.id) is \(move.state.rawValue); it is compared before it switches",
                next: "shardctl move list --all")
        }
        let links = MoveLinks(cluster: cluster, move: move)
        let source = try await links.source()
        defer { source.close() }
        let target = try await links.target()
        defer { target.close() }
        var outcome = Outcome(move: move.id)
        try await checkStanding(source, target)
        for table in try await MoveTable.read(source, deadline: .now + MoveLinks.patience) {
            try await compare(table, source, target, &outcome)
        }
        try await checkStanding(source, target)
        if outcome.missing == 0 {
            try await MoveJournal(cluster: cluster).noteVerified(move)
        }
        return outcome
    }

    /// Both sides are as the move left them: nobody has moved the slots on.
    private func checkStanding(
        _ source: PostgresConnection, _ target: PostgresConnection
    ) async throws {
        let sight = try await MoveSight.read(
            move, source: source, target: target, deadline: .now + MoveLinks.patience)
        guard sight.source == .moved, sight.target == .active else {
            throw OperationError.refused(
                "the slots of move \(move.id) have moved on since: its old copy says nothing about "
                    + "them", next: "shardctl move list --all")
        }
    }

    private func compare(
        _ table: MoveTable, _ source: PostgresConnection, _ target: PostgresConnection,
        _ outcome: inout Outcome
    ) async throws {
        let sums = RowSums(slots: move.slots, seed: move.seed)
        async let one = sums.bySlot(table, source)
        async let other = sums.bySlot(table, target)
        let (old, new) = try await (one, other)
        outcome.rows += old.values.reduce(0) { $0 + $1.rows }
        // Only slots that differ are looked at row by row.
        let different = move.slots.filter { old[$0] != nil && old[$0] != new[$0] }
        guard !different.isEmpty else { return }
        let rooms = try await MoveRooms(table: table, slots: different, seed: move.seed)
            .read(source).rooms
        for start in stride(from: 0, to: rooms.count, by: Self.roomsPerQuestion) {
            let some = Array(rooms[start..<min(start + Self.roomsPerQuestion, rooms.count)])
            let keys = try await keys(table, some, source)
            let deadline = ContinuousClock.now + .seconds(3_600)
            let first = try await RowSums.byKey(table, keys: keys, source, deadline: deadline)
            let second = try await RowSums.byKey(table, keys: keys, target, deadline: deadline)
            for (key, sum) in first {
                guard let now = second[key] else {
                    outcome.missing += sum.rows
                    continue
                }
                if now != sum { outcome.changed += sum.rows }
            }
        }
    }

    private func keys(
        _ table: MoveTable, _ rooms: [String], _ connection: PostgresConnection
    ) async throws -> Set<RowKey> {
        let columns = table.key.isEmpty ? ["room_id"] : table.key.map(\.name)
        let list = columns.map { "t.\(sqlName($0))::text" }.joined(separator: ", ")
        let rows = try await connection.query(
            Statement(
                "select array[\(list)] from \(table.name) t where t.room_id = any ($1::text[])",
                [rooms], isPrepared: false), deadline: .now + .seconds(3_600))
        return Set(try rows.map { try $0.get(0, as: [String].self) })
    }
}
