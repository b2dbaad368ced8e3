/// Why something that the server needs cannot be reached, as anybody may know it: no host, no name,
/// no address. The whole text is for operators.
enum DependencyTrouble: String, CaseIterable, Sendable {
    case refused = "refused"
    case timeout = "timeout"
    case notResolvable = "not resolvable"
    case authentication = "authentication failed"
    case noDatabase = "no such database"
    case encryption = "encryption failed"
    case busy = "too many connections"
    case starting = "starting or stopping"
    case lost = "connection lost"
    case unreachable = "unreachable"

    /// - Parameter reason: what libpq, PostgreSQL or the router says. What is not known counts as
    ///   ``unreachable``.
    init(_ reason: String) {
        let words = reason.lowercased()
        let sign = Self.signs.first { words.contains($0.words) }
        self = sign?.trouble ?? .unreachable
    }

    /// The first that fits counts. A program that sets no locale gets libpq's words in English;
    /// servers add the code to what they say after the start.
    private static let signs: [(words: String, trouble: DependencyTrouble)] = [
        ("could not translate host name", .notResolvable),
        ("name or service not known", .notResolvable),
        ("authentication failed", .authentication), ("no password supplied", .authentication),
        ("no pg_hba.conf entry", .authentication), ("sqlstate 28", .authentication),
        ("permission denied", .authentication),
        ("role \"", .authentication),
        ("database \"", .noDatabase), ("sqlstate 3d000", .noDatabase),
        ("ssl", .encryption), ("certificate", .encryption),
        ("too many clients", .busy), ("too many connections", .busy),
        ("remaining connection slots", .busy), ("sqlstate 53300", .busy),
        ("shutting down", .starting), ("starting up", .starting), ("recovery mode", .starting),
        ("not yet accepting", .starting), ("sqlstate 57p0", .starting),
        ("timeout", .timeout), ("timed out", .timeout), ("in time", .timeout),
        ("refused", .refused), ("no such file or directory", .refused),
        ("closed the connection", .lost), ("was lost", .lost), ("reset by peer", .lost),
    ]
}
