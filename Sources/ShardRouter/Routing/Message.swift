public import FoundationEssentials
public import Postgres

/// A message of a room, as its author's client made it and a server received it.
public struct Message: Hashable, Sendable {
    /// Made by the client, UUID version 4. Storing the same id twice stores one row.
    public var id: UUID
    /// The room whose shard stores the message.
    public var room: RoomID
    /// Who wrote it: the server's word, never the client's.
    public var author: String
    /// The client's clock: shown, never trusted.
    public var sentAt: Timestamp
    /// The clock of the server that took the message first.
    public var receivedAt: Timestamp
    /// The text, without NUL characters (PostgreSQL cannot hold them).
    public var text: String
    /// What the author did to the room, in the application's own form; nil for what he wrote.
    /// Events are stored by a transaction of the application's, not by the router.
    public var event: String?

    public init(
        id: UUID, room: RoomID, author: String, sentAt: Timestamp, receivedAt: Timestamp,
        text: String, event: String? = nil
    ) {
        self.id = id
        self.room = room
        self.author = author
        self.sentAt = sentAt
        self.receivedAt = receivedAt
        self.text = text
        self.event = event
    }
}

/// A message with the place that its shard gave it.
public struct StoredMessage: Hashable, Sendable {
    public var message: Message
    /// The message's place in its room: 1, 2, 3 … without a hole, in the order of the commits.
    public var seq: Int64
    /// The event that deleted the message, by its place; its text is gone then.
    public var deletedBy: Int64?

    public init(message: Message, seq: Int64, deletedBy: Int64? = nil) {
        self.message = message
        self.seq = seq
        self.deletedBy = deletedBy
    }
}

/// What a durable write returns: the shard has committed the message.
public struct Receipt: Hashable, Sendable {
    /// The message's place in its room.
    public var seq: Int64
    /// Whether the message had been stored before; `seq` and the times are those of the first time.
    public var isDuplicate: Bool
    /// The stored row's own times: for a duplicate those of the first attempt.
    public var sentAt: Timestamp
    public var receivedAt: Timestamp
    /// Who stored it.
    public var shard: ShardID

    public init(
        seq: Int64, isDuplicate: Bool, sentAt: Timestamp, receivedAt: Timestamp, shard: ShardID
    ) {
        self.seq = seq
        self.isDuplicate = isDuplicate
        self.sentAt = sentAt
        self.receivedAt = receivedAt
        self.shard = shard
    }
}

/// What became of a message that a router has accepted.
public enum WriteOutcome: Hashable, Sendable {
    /// Its shard has committed it.
    case stored(Receipt)
    /// Its shard is out of reach: the overflow keeps it safe, and it will be stored.
    case queued

    /// Of a message that was not to go to the overflow.
    var receipt: Receipt {
        switch self {
        case .stored(let receipt): return receipt
        case .queued: preconditionFailure("only an accepted message goes to the overflow")
        }
    }
}

/// A run of a room's messages, oldest first.
public struct HistoryPage: Hashable, Sendable {
    public var messages: [StoredMessage]
    /// Whether nothing lies beyond this page in the direction that was asked for.
    public var isComplete: Bool
    /// The room's highest `seq` at the moment of the read; 0 for a room without messages.
    public var head: Int64

    public init(messages: [StoredMessage], isComplete: Bool, head: Int64) {
        self.messages = messages
        self.isComplete = isComplete
        self.head = head
    }
}
