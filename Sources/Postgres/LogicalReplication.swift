/// What a server that decodes its log says, by the streaming replication protocol and `pgoutput`
/// version 1 (PostgreSQL's manual, "Logical Replication Message Formats").
public enum ReplicationMessage: Sendable {
    /// A piece of the log.
    case change(LogicalChange)
    /// The server is alive; `isReplyWanted`: it ends the connection if nothing is answered.
    case keepalive(position: UInt64, isReplyWanted: Bool)

    /// - Throws: ``PostgresError/decoding(column:reason:)`` for what is no such message.
    public init(_ bytes: [UInt8]) throws(PostgresError) {
        var reader = MessageReader(bytes[...])
        switch try reader.byte() {
        case UInt8(ascii: "w"):
            try reader.skip(24)  // Positions and time of this piece: the changes carry their own.
            self = .change(try LogicalChange(&reader))
        case UInt8(ascii: "k"):
            let position = try reader.integer(UInt64.self)
            try reader.skip(8)
            self = .keepalive(position: position, isReplyWanted: try reader.byte() == 1)
        case let kind:
            throw .decoding(column: "message", reason: "\(kind) is no kind of message")
        }
    }

    /// Tells the server that everything up to `position` may be forgotten.
    public static func confirmation(_ position: UInt64) -> [UInt8] {
        var bytes: [UInt8] = [UInt8(ascii: "r")]
        for value in [position, position, position, 0] {
            bytes += (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
        }
        return bytes + [0]
    }
}

/// One change of a row, or where a transaction begins and ends.
public enum LogicalChange: Sendable {
    /// A value of a row: NULL, not sent because it did not change, or as text.
    public enum Value: Sendable, Equatable {
        case null, unchanged, text(String)
    }

    /// A table as the following changes name it.
    public struct Relation: Sendable, Equatable {
        public var id: UInt32
        public var schema: String
        public var name: String
        /// `relreplident`: `d`, `i`, `f` or `n`.
        public var identity: Character
        public var columns: [(name: String, isKey: Bool)] {
            zip(names, keys).map { ($0, $1) }
        }
        var names: [String]
        var keys: [Bool]
    }

    case begin
    /// The position behind the transaction.
    case commit(position: UInt64)
    case relation(Relation)
    case insert(relation: UInt32, new: [Value])
    /// `old` has the old key where the key changed, or the whole old row where that is the identity.
    case update(relation: UInt32, old: [Value]?, new: [Value])
    case delete(relation: UInt32, old: [Value])
    /// What this program does not look at.
    case other

    fileprivate init(_ reader: inout MessageReader) throws(PostgresError) {
        switch try reader.byte() {
        case UInt8(ascii: "B"): self = .begin
        case UInt8(ascii: "C"):
            try reader.skip(9)
            self = .commit(position: try reader.integer(UInt64.self))
        case UInt8(ascii: "R"): self = .relation(try Relation(&reader))
        case UInt8(ascii: "I"):
            let relation = try reader.integer(UInt32.self)
            try reader.skip(1)
            self = .insert(relation: relation, new: try reader.row())
        case UInt8(ascii: "U"):
            let relation = try reader.integer(UInt32.self)
            var old: [Value]?
            if try reader.byte() != UInt8(ascii: "N") {
                old = try reader.row()
                try reader.skip(1)
            }
            self = .update(relation: relation, old: old, new: try reader.row())
        case UInt8(ascii: "D"):
            let relation = try reader.integer(UInt32.self)
            try reader.skip(1)
            self = .delete(relation: relation, old: try reader.row())
        default: self = .other
        }
    }
}

extension LogicalChange.Relation {
    fileprivate init(_ reader: inout MessageReader) throws(PostgresError) {
        id = try reader.integer(UInt32.self)
        schema = try reader.text()
        name = try reader.text()
        identity = Character(UnicodeScalar(try reader.byte()))
        (names, keys) = ([], [])
        for _ in 0..<(try reader.integer(UInt16.self)) {
            keys.append(try reader.byte() & 1 == 1)
            names.append(try reader.text())
            try reader.skip(8)
        }
    }
}

private struct MessageReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    mutating func take(_ count: Int) throws(PostgresError) -> ArraySlice<UInt8> {
        guard count >= 0, rest.count >= count else {
            throw .decoding(column: "message", reason: "it is cut short")
        }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    mutating func skip(_ count: Int) throws(PostgresError) { _ = try take(count) }

    mutating func byte() throws(PostgresError) -> UInt8 {
        let taken = try take(1)
        return taken[taken.startIndex]
    }

    mutating func integer<Number: FixedWidthInteger>(
        _ type: Number.Type
    ) throws(PostgresError) -> Number {
        try take(Number.bitWidth / 8).reduce(0) { $0 << 8 | Number($1) }
    }

    mutating func text() throws(PostgresError) -> String {
        guard let end = rest.firstIndex(of: 0) else {
            throw .decoding(column: "message", reason: "a text has no end")
        }
        defer { rest = rest[(end + 1)...] }
        return String(decoding: rest[..<end], as: UTF8.self)
    }

    mutating func row() throws(PostgresError) -> [LogicalChange.Value] {
        var values: [LogicalChange.Value] = []
        for _ in 0..<(try integer(UInt16.self)) {
            switch try byte() {
            case UInt8(ascii: "n"): values.append(.null)
            case UInt8(ascii: "u"): values.append(.unchanged)
            default:
                let count = Int(try integer(UInt32.self))
                values.append(.text(String(decoding: try take(count), as: UTF8.self)))
            }
        }
        return values
    }
}
