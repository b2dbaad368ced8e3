public import FoundationEssentials

/// What happens to a client, in the order in which it happens.
public enum ChatEvent: Sendable, Equatable {
    /// A server has greeted us.
    case connected(server: String)
    /// The connection is gone, and is tried again after `comesBackAfter`.
    case disconnected(code: UInt16?, comesBackAfter: Duration)
    /// The connection is gone, and coming back would only repeat the failure.
    case ended(code: UInt16?, reason: String)
    /// The list of messages begins anew: with the newest page, or without what a shard has lost.
    case reset([ChatMessage])
    /// New messages, in their order, behind all others.
    case appended([ChatMessage])
    /// An older page that ``ChatClient/loadOlder()`` asked for.
    case prepended([ChatMessage])
    /// The message with this id has lost its text.
    case deleted(UUID)
    /// A message of one's own is stored and has left the outbox.
    case stored(id: UUID, seq: Int64)
    /// A server has it safe on its disk; it stays in the outbox until it is stored.
    case queued(UUID)
    /// It will not be stored. It stays in ``ChatView/pending`` until it is discarded.
    case refused(id: UUID, ChatFault)
    /// A refusal that names no message, such as of `typing` or of a token.
    case fault(ChatFault)
    /// Who is here has changed.
    case presence(count: Int, joined: [String], left: [String])
    case typing(from: String)
}

/// What a client has, at one moment.
public struct ChatView: Sendable, Equatable {
    public enum Connection: String, Sendable {
        /// Not started, or on its way.
        case connecting
        case live
        /// Lost, and tried again.
        case offline
        /// Ended for good.
        case closed
    }

    public var connection: Connection
    /// By `seq`; behind them those without one, by their arrival at the server.
    public var messages: [ChatMessage]
    /// One's own messages that are not stored, in the order of writing.
    public var pending: [OutboxEntry]
    /// Who is here, in alphabetic order; fewer than `peopleCount` when only the count is told.
    public var people: [String]
    public var peopleCount: Int
}
