import Postgres

/// What a pool needs of a connection.
protocol PoolConnection: Sendable {
    /// False after a loss, and for ever then.
    var isUsable: Bool { get }
    /// Whether the other side has closed it, or is about to, while nobody used it. No round trip.
    var isPeerGone: Bool { get }
    var isInTransaction: Bool { get }
    /// Whether the server refused to write because it is not the primary (any more).
    var hasLostRole: Bool { get }
    /// Makes the session as if it were new, except for plans.
    func resetSession(deadline: ContinuousClock.Instant) async throws(PostgresError)
    func close()
}

extension PostgresConnection: PoolConnection {}

/// Makes the connections of a pool.
protocol PoolConnector: Sendable {
    associatedtype Connection: PoolConnection
    /// For messages.
    var name: String { get }
    func connect(deadline: ContinuousClock.Instant) async throws(ShardError) -> Connection
}

extension ShardConnector: PoolConnector {
    var name: String { shard.name }
}
