import Postgres
import Synchronization

/// The identity of a row: the values of its key, as text.
typealias RowKey = [String]

/// Follows the source's log beside the subscription and remembers which rows of a move have changed,
/// so that only those need to be compared again.
///
/// It reads from a temporary replication slot, which goes with its connection.
final class ChangeWatch: Sendable {
    private struct Contents {
        var changed: [String: Set<RowKey>] = [:]
        /// Of the transaction that is being read.
        var pending: [(table: String, key: RowKey)] = []
        var pendingMark: Int64?
        var mark: Int64 = 0
        var relations: [UInt32: Shape] = [:]
        var position: UInt64 = 0
    }

    /// Where the key is in the rows of a table.
    private struct Shape {
        var table: String
        var keyPlaces: [Int]
    }

    private let move: Move
    /// A name of its own: another runner's may still be there.
    private let slot: String
    private let contents = Mutex(Contents())

    init(move: Move) {
        self.move = move
        slot = move.watchPrefix + String(UInt32.random(in: 0...UInt32.max), radix: 16)
    }

    /// Makes the temporary slot and returns its snapshot: the rows as they were before the first
    /// change that ``follow(_:)`` will see. The snapshot ends with the next command.
    func makeSlot(_ connection: PostgresConnection) async throws -> String {
        let cells = try await connection.command(
            "CREATE_REPLICATION_SLOT \(slot) TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')",
            deadline: .now + .seconds(3_600))
        guard let snapshot = cells.first?[2] else {
            throw OperationError.failed("the source exported no snapshot")
        }
        return snapshot
    }

    /// Follows the log until the task is cancelled or the connection ends.
    func follow(_ connection: PostgresConnection) async throws {
        let sql =
            "START_REPLICATION SLOT \(slot) LOGICAL 0/0 "
            + "(proto_version '1', publication_names '\(move.name)')"
        try await connection.replicate(sql) { bytes in
            switch try ReplicationMessage(bytes) {
            case .change(let change):
                try self.note(change)
                return nil
            case .keepalive(let end, let isReplyWanted):
                let position = self.contents.withLock { contents in
                    // Between transactions everything up to here has been seen, and may go.
                    if contents.pending.isEmpty { contents.position = max(contents.position, end) }
                    return contents.position
                }
                return isReplyWanted ? ReplicationMessage.confirmation(position) : nil
            }
        }
    }

    /// The rows that changed since the last call, by table.
    func take() -> [String: Set<RowKey>] {
        contents.withLock { contents in
            defer { contents.changed = [:] }
            return contents.changed
        }
    }

    /// Takes back rows that were taken and not compared.
    func putBack(_ rows: [String: Set<RowKey>]) {
        contents.withLock { $0.changed.merge(rows) { $0.union($1) } }
    }

    /// Waits until everything that was committed before `mark` has been seen.
    func sees(_ mark: Int64, deadline: ContinuousClock.Instant) async throws {
        while contents.withLock({ $0.mark < mark }) {
            guard ContinuousClock.now < deadline else {
                throw MoveError.notReady(why: "the source's log was not read in time")
            }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private func note(_ change: LogicalChange) throws {
        try contents.withLock { contents in
            switch change {
            case .begin:
                contents.pending = []
                contents.pendingMark = nil
            case .commit(let position):
                for (table, key) in contents.pending {
                    contents.changed[table, default: []].insert(key)
                }
                contents.pending = []
                if let mark = contents.pendingMark { contents.mark = max(contents.mark, mark) }
                contents.position = position
            case .relation(let relation):
                contents.relations[relation.id] = Self.shape(relation)
            case .insert(let relation, let new):
                try note(new, relation, &contents)
            case .update(let relation, let old, let new):
                if let old { try note(old, relation, &contents) }
                try note(new, relation, &contents)
            case .delete(let relation, let old):
                try note(old, relation, &contents)
            case .other:
                break
            }
        }
    }

    private static func shape(_ relation: LogicalChange.Relation) -> Shape {
        let columns = relation.columns
        let places = columns.indices.filter {
            relation.identity == "f" ? columns[$0].name == "room_id" : columns[$0].isKey
        }
        return Shape(
            table: "\(sqlName(relation.schema)).\(sqlName(relation.name))", keyPlaces: places)
    }

    private func note(
        _ row: [LogicalChange.Value], _ relation: UInt32, _ contents: inout Contents
    ) throws {
        guard let shape = contents.relations[relation] else {
            throw OperationError.failed("the source's log names a table that it did not describe")
        }
        guard shape.table != "\"shard\".\"move_marks\"" else {
            if case .text(let mark)? = row.last { contents.pendingMark = Int64(mark) }
            return
        }
        let key = try shape.keyPlaces.map { place -> String in
            guard row.indices.contains(place), case .text(let value) = row[place] else {
                throw OperationError.failed(
                    "a change of \(shape.table) in the source's log has no key: it cannot be "
                        + "verified")
            }
            return value
        }
        contents.pending.append((shape.table, key))
    }
}
