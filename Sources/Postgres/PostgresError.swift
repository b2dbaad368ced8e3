/// What went wrong between this program and a PostgreSQL server.
public enum PostgresError: Error, Sendable, Equatable {
    /// The text is no libpq connection string.
    case badConnectionString(reason: String)
    /// No connection came about; nothing was sent. `reason` is libpq's, without secrets.
    case connectionFailed(reason: String)
    /// The connection died, or was closed. `mayHaveRun`: something was on its way.
    case connectionLost(reason: String, mayHaveRun: Bool)
    /// The server refused a statement and rolled back what belonged to it.
    case server(ServerError)
    /// The deadline passed and the server cancelled the statement: it did nothing.
    case deadlineExceeded
    /// The task was cancelled and the server cancelled the statement: it did nothing.
    case cancelled
    /// A parameter cannot be sent; nothing was.
    case badParameter(index: Int, reason: String)
    /// A column does not hold what the caller asked for.
    case decoding(column: String, reason: String)

    /// The server's five-letter code, when the server answered.
    public var sqlState: String? {
        if case .server(let error) = self { error.sqlState } else { nil }
    }

    /// What happens when the same is sent again.
    public enum Repeatability: Sendable, Equatable {
        /// Nothing happened, and it may work next time.
        case safe
        /// It may have happened: repeat only what is idempotent.
        case unknownOutcome
        /// Nothing happened, and nothing will: the same answer would come again.
        case never
    }

    public var repeatability: Repeatability {
        switch self {
        case .connectionFailed, .deadlineExceeded, .cancelled: .safe
        case .connectionLost(_, let mayHaveRun): mayHaveRun ? .unknownOutcome : .safe
        case .badConnectionString, .badParameter, .decoding: .never
        case .server(let error): error.repeatability
        }
    }
}

/// A server's error message.
public struct ServerError: Error, Sendable, Equatable {
    public var severity: String
    /// PostgreSQL's error code (appendix A of its manual).
    public var sqlState: String
    public var message: String
    public var detail: String?
    public var hint: String?
    /// Place in the statement's text, in characters from 1.
    public var position: Int?
    public var context: String?
    public var schema: String?
    public var table: String?
    public var column: String?
    public var constraint: String?
    /// Which statement of a pipeline it was, from 0.
    public var statementIndex: Int

    /// An error that a program finds itself, in the form of a server's.
    public init(sqlState: String, message: String, statementIndex: Int = 0) {
        self.severity = "ERROR"
        self.sqlState = sqlState
        self.message = message
        self.statementIndex = statementIndex
    }

    /// Serialisation failures, lock time-outs, shutdowns and shortages pass; the rest stays.
    var repeatability: PostgresError.Repeatability {
        switch sqlState {
        case "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05": .safe
        case "40003", "08007": .unknownOutcome
        case "0A000" where message.hasPrefix("cached plan"): .safe  // The next use plans anew.
        case "26000": .safe  // The same: the server has lost the plan.
        case "25006": .safe  // A standby, or a primary that lost its role: connect anew.
        default: sqlState.hasPrefix("53") || sqlState.hasPrefix("08") ? .safe : .never
        }
    }
}

extension PostgresError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .badConnectionString(let reason): "not a connection string: \(reason)"
        case .connectionFailed(let reason): "cannot connect: \(reason)"
        case .connectionLost(let reason, _): "the connection was lost: \(reason)"
        case .server(let error): error.description
        case .deadlineExceeded: "the server did not answer in time"
        case .cancelled: "cancelled"
        case .badParameter(let index, let reason): "parameter $\(index + 1): \(reason)"
        case .decoding(let column, let reason): "column \(column): \(reason)"
        }
    }
}

extension ServerError: CustomStringConvertible {
    /// Classes of errors about data; their details quote it: "Failing row contains (…)".
    private static let classesThatQuoteData: Set<String> = ["22", "23"]

    /// What people read, in logs and on terminals: without the data that was refused.
    public var description: String {
        var text = "\(message) (SQLSTATE \(sqlState))"
        if let detail, !Self.classesThatQuoteData.contains(String(sqlState.prefix(2))) {
            text += "; \(detail)"
        }
        if let hint { text += "; hint: \(hint)" }
        return text
    }
}
