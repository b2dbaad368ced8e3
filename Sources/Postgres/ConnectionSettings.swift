import CLibpq

/// A libpq connection string, parsed by libpq itself: `key=value` or URI, several hosts allowed.
public struct ConnectionSettings: Sendable, Equatable {
    private var values: [String: String]

    /// - Throws: ``PostgresError/badConnectionString(reason:)``.
    public init(_ connectionString: String) throws(PostgresError) {
        // libpq's own message may quote a part of the text, and that part may be a password.
        guard let options = PQconninfoParse(connectionString, nil) else {
            throw .badConnectionString(
                reason: "write keyword=value pairs such as 'host=127.0.0.1 dbname=chat', or a URI "
                    + "such as 'postgresql://host/dbname'; quote values that hold spaces")
        }
        defer { PQconninfoFree(options) }
        values = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val {
                values[String(cString: keyword)] = String(cString: value)
            }
            option += 1
        }
    }

    /// A libpq keyword's value, such as `host`, `user` or `sslmode`; nil where the string has none.
    public subscript(_ keyword: String) -> String? {
        get { values[keyword] }
        set { values[keyword] = newValue }
    }

    /// These settings, with `keywords` taken from `others` where they are absent here.
    public func fillingIn(_ others: ConnectionSettings, keywords: [String]) -> ConnectionSettings {
        var filled = self
        for keyword in keywords where filled[keyword] == nil {
            filled[keyword] = others[keyword]
        }
        return filled
    }

    public var hasPassword: Bool { values["password"] != nil || values["sslpassword"] != nil }

    /// These settings, leading to the server that takes writes when several hosts are named and
    /// `target_session_attrs` does not say otherwise: the others are its standbys.
    public var findingPrimary: ConnectionSettings {
        guard hostCount > 1, self["target_session_attrs"] == nil else { return self }
        var settings = self
        settings["target_session_attrs"] = "read-write"
        return settings
    }

    /// How many hosts are tried in turn.
    var hostCount: Int { (values["host"] ?? values["hostaddr"] ?? "").split(separator: ",").count }

    /// Complete, for libpq and psql. Holds the password if there is one.
    public var connectionString: String { text(of: values) }

    /// Safe to print and to store.
    public var withoutSecrets: String {
        text(of: values.filter { !["password", "sslpassword"].contains($0.key) })
    }

    private func text(of values: [String: String]) -> String {
        let order = ["host", "hostaddr", "port", "dbname", "user"]
        let keywords = values.keys.sorted { one, other in
            let places = (order.firstIndex(of: one) ?? 99, order.firstIndex(of: other) ?? 99)
            return (places.0, one) < (places.1, other)
        }
        return keywords.map { "\($0)=\(quoted(values[$0] ?? ""))" }.joined(separator: " ")
    }

    private func quoted(_ value: String) -> String {
        let isPlain =
            !value.isEmpty && value.utf8.allSatisfy { $0 > 32 && $0 != 39 && $0 != 92 }
        guard !isPlain else { return value }
        let escaped = value.map { $0 == "'" || $0 == "\\" ? "\\\($0)" : String($0) }.joined()
        return "'\(escaped)'"
    }
}

extension ConnectionSettings: CustomStringConvertible {
    public var description: String { withoutSecrets }
}

/// libpq's messages end with a line break and may span lines.
func trimmed(_ message: String) -> String {
    message.split(whereSeparator: \.isNewline)
        .map { $0.drop { $0 == " " || $0 == "\t" } }
        .joined(separator: "; ")
}
