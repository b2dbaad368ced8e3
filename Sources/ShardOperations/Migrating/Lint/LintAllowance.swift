/// `-- shardctl: allow=RULE,RULE reason="…"` above a statement.
struct LintAllowance {
    var rules: [String]
    /// nil where there is none, or an empty one.
    var reason: String?

    init?(comment: String) {
        guard comment.hasPrefix("shardctl:"),
            let match = comment.firstMatch(of: #/\ballow=(\S*)/#)
        else { return nil }
        rules = match.1.split(separator: ",").map(String.init)
        if let words = comment.firstMatch(of: #/\breason="([^"]*)"/#)?.1,
            !words.allSatisfy(\.isWhitespace)
        {
            reason = String(words)
        }
    }
}
