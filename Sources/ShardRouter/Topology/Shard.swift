/// Where a shard stands in its life.
public enum ShardState: String, Hashable, Sendable, Codable, CaseIterable {
    /// Known, but owns nothing yet.
    case joining
    /// Owns slots, and may be given more.
    case active
    /// Gives its slots away.
    case draining
    /// Owns nothing and will not again.
    case retired
}

/// One PostgreSQL database that owns slots.
public struct Shard: Hashable, Sendable {
    public var id: ShardID
    /// For people: lower-case letters, digits and hyphens.
    public var name: String
    /// A libpq connection string without user and secrets.
    public var endpoint: String
    /// Its share of the slots, relative to the others; 0 owns nothing.
    public var weight: Int
    public var state: ShardState

    public init(id: ShardID, name: String, endpoint: String, weight: Int, state: ShardState) {
        self.id = id
        self.name = name
        self.endpoint = endpoint
        self.weight = weight
        self.state = state
    }
}
