import CLibpq

/// What a statement returned. Keeps the server's answer as it came; cells are decoded when read.
public struct Rows: Sendable, RandomAccessCollection {
    let result: ResultHandle

    public var startIndex: Int { 0 }
    public var endIndex: Int { Int(PQntuples(result.pointer)) }

    public subscript(_ index: Int) -> Row {
        precondition(indices.contains(index), "row \(index) is outside the result")
        return Row(result: result, index: Int32(index))
    }

    /// The names of the columns, in order.
    public var columns: [String] {
        (0..<PQnfields(result.pointer)).map { String(cString: PQfname(result.pointer, $0)) }
    }

    /// Such as `INSERT 0 5`.
    public var commandTag: String { String(cString: PQcmdStatus(result.pointer)) }

    /// Rows that the statement wrote; for a SELECT the rows that it returned.
    public var affectedRows: Int { Int(String(cString: PQcmdTuples(result.pointer))) ?? 0 }
}

/// One row of a result.
public struct Row: Sendable {
    let result: ResultHandle
    let index: Int32

    /// The names of its columns, in order.
    public var columnNames: [String] { Rows(result: result).columns }

    /// - Throws: ``PostgresError/decoding(column:reason:)`` for a column that does not exist, holds
    ///   another type, or is NULL where `Value` is not optional.
    public func get<Value: PostgresDecodable>(
        _ column: String, as type: Value.Type = Value.self
    ) throws(PostgresError) -> Value {
        let number = PQfnumber(result.pointer, "\"\(column)\"")
        guard number >= 0 else {
            throw .decoding(column: column, reason: "there is no such column")
        }
        return try get(Int(number))
    }

    public func get<Value: PostgresDecodable>(
        _ column: Int, as type: Value.Type = Value.self
    ) throws(PostgresError) -> Value {
        guard (0..<PQnfields(result.pointer)).contains(Int32(column)) else {
            throw .decoding(column: "\(column)", reason: "there is no such column")
        }
        return try Value.decode(cell(Int32(column)))
    }

    private func cell(_ column: Int32) -> Cell {
        let isNull = PQgetisnull(result.pointer, index, column) == 1
        let bytes =
            isNull
            ? nil
            : UnsafeRawBufferPointer(
                start: PQgetvalue(result.pointer, index, column),
                count: Int(PQgetlength(result.pointer, index, column)))
        return Cell(
            result: result, column: column, content: bytes,
            type: PQftype(result.pointer, column))
    }
}

/// One value of a row, in PostgreSQL's binary format.
public struct Cell {
    let result: ResultHandle
    let column: Int32
    let content: UnsafeRawBufferPointer?
    /// The number of its type in `pg_type`.
    public let type: UInt32

    public var isNull: Bool { content == nil }

    /// The bytes, after checking the type and, where it is fixed, the length.
    func bytes(
        of types: [UInt32], as name: String, count: Int?
    ) throws(PostgresError) -> UnsafeRawBufferPointer {
        guard let content else { throw problem("NULL where a value was expected") }
        guard types.contains(type) else {
            throw problem("expected \(name), found the type with number \(type)")
        }
        guard count == nil || content.count == count else {
            throw problem("\(content.count) bytes are no \(name)")
        }
        return content
    }

    func element(_ content: UnsafeRawBufferPointer?, type: UInt32) -> Cell {
        Cell(result: result, column: column, content: content, type: type)
    }

    func problem(_ reason: String) -> PostgresError {
        .decoding(column: String(cString: PQfname(result.pointer, column)), reason: reason)
    }
}

/// Owns a `PGresult`.
///
/// `@unchecked`: nobody changes a result after libpq has handed it out, so any thread may read it.
final class ResultHandle: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) {
        self.pointer = pointer
    }

    deinit { PQclear(pointer) }

    var status: ExecStatusType { PQresultStatus(pointer) }

    func serverError(statement: Int) -> ServerError {
        var error = ServerError(
            sqlState: field("C") ?? "XX000",
            message: field("M") ?? trimmed(String(cString: PQresultErrorMessage(pointer))),
            statementIndex: statement)
        error.severity = field("V") ?? field("S") ?? error.severity
        (error.detail, error.hint) = (field("D"), field("H"))
        error.position = field("P").flatMap { Int($0) }
        error.context = field("W")
        (error.schema, error.table, error.column) = (field("s"), field("t"), field("c"))
        error.constraint = field("n")
        return error
    }

    private func field(_ code: Character) -> String? {
        guard let ascii = code.asciiValue,
            let text = PQresultErrorField(pointer, Int32(ascii))
        else { return nil }
        return String(cString: text)
    }
}
