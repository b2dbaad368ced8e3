import CPgQuery

/// Statements of others as they may be shown: values can be texts of messages.
enum StatementText {
    private static let length = 120

    /// One line, shortened, with `$1` … in place of its values.
    static func shown(_ query: String) -> String {
        let result = pg_query_normalize(query)
        defer { pg_query_free_normalize_result(result) }
        guard result.error == nil, let normalised = result.normalized_query else {
            // Not readable, perhaps because it was cut off: then its first word has to do.
            return (query.split { $0.isWhitespace }.first.map(String.init) ?? "") + " …"
        }
        return brief(String(cString: normalised))
    }

    /// One line, shortened.
    static func brief(_ text: String) -> String {
        let line = text.split { $0.isWhitespace }.joined(separator: " ")
        return line.count <= length ? line : line.prefix(length - 2) + " …"
    }
}
