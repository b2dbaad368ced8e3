/// A command that opens a conversation with Redis.
struct RedisGreeting: Sendable {
    /// What errors call it.
    var name: String
    var command: RedisCommand
    /// Whether nothing goes without it.
    var isRequired: Bool
    /// Whether the answer says what the cluster looks like.
    var asksForSlots = false

    /// All of one connection, in order.
    ///
    /// - Parameter name: what Redis shows in `CLIENT LIST`.
    static func all(_ url: RedisURL, name: String) -> [RedisGreeting] {
        var greetings: [RedisGreeting] = []
        if let credentials = url.credentials {
            let words = [credentials.user, credentials.password].compactMap { $0 }
            greetings.append(
                RedisGreeting(
                    name: "AUTH", command: RedisCommand("AUTH", words.map { Array($0.utf8) }),
                    isRequired: true))
        }
        if url.database != 0 {
            greetings.append(
                RedisGreeting(
                    name: "SELECT", command: RedisCommand("SELECT", "\(url.database)"),
                    isRequired: true))
        }
        greetings.append(
            RedisGreeting(
                name: "CLIENT SETNAME", command: RedisCommand("CLIENT", "SETNAME", name),
                isRequired: false))
        // A single Redis answers with an error, and so does one whose user may not ask: then plain
        // pub/sub is used, which a cluster carries, too, at a higher price.
        greetings.append(
            RedisGreeting(
                name: "CLUSTER SLOTS", command: .slots, isRequired: false, asksForSlots: true))
        // Says whether Redis lets us in at all, and is not busy loading its data.
        greetings.append(
            RedisGreeting(name: "PING", command: RedisCommand("PING"), isRequired: true))
        return greetings
    }
}

extension RedisCommand {
    /// Asks what the cluster looks like.
    static let slots = RedisCommand("CLUSTER", "SLOTS")
}
