/// A statement with its parameters.
public struct Statement: Sendable {
    public var sql: String
    var values: [EncodedValue]
    /// Whether the server keeps its plan for the next use on the same connection.
    public var isPrepared: Bool

    /// - Parameter sql: one statement; parameters are `$1`, `$2` …
    public init(_ sql: String, _ parameters: [any PostgresEncodable] = [], isPrepared: Bool = true)
    {
        self.sql = sql
        self.values = parameters.map(\.postgresValue)
        self.isPrepared = isPrepared
    }
}

/// A parameter in PostgreSQL's binary format.
public struct EncodedValue: Sendable {
    /// The type's number in `pg_type`.
    public var type: UInt32
    /// The element's type when this is an array, else 0.
    public var arrayType: UInt32
    /// Nil is NULL.
    public var bytes: [UInt8]?
    /// Why PostgreSQL cannot hold the value.
    var problem: String?

    public init(type: UInt32, arrayType: UInt32, bytes: [UInt8]?) {
        self.type = type
        self.arrayType = arrayType
        self.bytes = bytes
    }
}
