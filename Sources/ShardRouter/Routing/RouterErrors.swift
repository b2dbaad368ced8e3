public import FoundationEssentials

/// Why a message was not stored, or may not have been.
public enum WriteError: Error, Sendable, Equatable {
    /// The queue of `shard` is full. Nothing was sent; try again after `retryAfter`.
    case overloaded(shard: ShardID, retryAfter: Duration)
    /// `id` already holds another message of this room. Nothing was written.
    case conflict(id: UUID)
    /// The shard refused this message for good (too long, bad data). Nothing was written.
    case refused(id: UUID, reason: String, sqlState: String?)
    /// The shard does not answer, or did not until the patience ended. Nothing was written; try
    /// again after `retryAfter`.
    case unavailable(shard: ShardID, reason: String, retryAfter: Duration)
    /// The connection died, or the patience ended, while the message was on its way: it may be
    /// stored. Repeat with the same id.
    case unknownOutcome(shard: ShardID, reason: String)
    /// The router was stopped. Nothing was sent.
    case stopped
}

/// Why rows of a room cannot be read now.
public enum ReadError: Error, Sendable, Equatable {
    /// The shard was out of reach, or the room was on its way, until the patience ended.
    case unavailable(shard: ShardID, reason: String)
    /// The statement itself is at fault; it would fail again.
    case refused(reason: String, sqlState: String?)
    /// The router was stopped.
    case stopped
}
