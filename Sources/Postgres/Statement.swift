/// A statement with its parameters.
public struct Statement: Sendable {
    public var sql: String
    /// The parameters, one after the other.
    let bytes: [UInt8]
    let parameters: [Parameter]
    /// Whether the server keeps its plan for the next use on the same connection.
    public var isPrepared: Bool

    /// One parameter, encoded.
    struct Parameter {
        /// The type's number in `pg_type`.
        var type: UInt32
        /// Where its bytes are in ``Statement/bytes``; nil is NULL.
        var range: Range<Int>?
        /// Why PostgreSQL cannot hold the value.
        var problem: String?
    }

    /// Encodes the parameters at once.
    ///
    /// - Parameter sql: one statement; parameters are `$1`, `$2` …
    public init(_ sql: String, _ parameters: [any PostgresEncodable] = [], isPrepared: Bool = true)
    {
        self.sql = sql
        self.isPrepared = isPrepared
        var bytes: [UInt8] = []
        var encoded: [Parameter] = []
        encoded.reserveCapacity(parameters.count)
        for parameter in parameters {
            var one = Parameter(type: Swift.type(of: parameter).postgresType.type)
            let start = bytes.count
            do throws(UnencodableValue) {
                if try parameter.encode(into: &bytes) { one.range = start..<bytes.count }
            } catch {
                one.problem = error.reason
            }
            encoded.append(one)
        }
        bytes.append(0)  // Never empty, so that every parameter has an address.
        self.bytes = bytes
        self.parameters = encoded
    }

    var types: [UInt32] { parameters.map(\.type) }
}

/// Why PostgreSQL cannot hold a value.
public struct UnencodableValue: Error, Sendable, Equatable {
    public var reason: String

    public init(reason: String) {
        self.reason = reason
    }
}
