public import FoundationEssentials

/// A message as a server has told it.
public struct ChatMessage: Sendable, Equatable {
    /// What happened to a room, in its order, when it is not that somebody wrote.
    public struct Event: Sendable, Equatable {
        /// `delete`, `mute`, `kick` …, or what later versions know; empty when it cannot be read.
        public var kind: String
        /// The message that it is about.
        public var id: UUID?
        /// The person whom it is about.
        public var user: String?
        /// How long it holds, in seconds; nil when it has no end of its own.
        public var seconds: Int64?
        /// When it ends, as RFC 3339.
        public var until: String?
    }

    public var id: UUID
    /// The author, by the server's word.
    public var from: String
    /// The author's clock, as RFC 3339; shown, never trusted.
    public var sentAt: String
    /// The clock of the server that took it.
    public var receivedAt: String?
    /// Empty when the message was deleted.
    public var text: String
    /// The place in the room: 1, 2, 3 … Nil for what the room's shard has lost.
    public var seq: Int64?
    /// Proves to servers that one of them knew the message.
    public var receipt: String?
    /// Whether the author's clock was off.
    public var isSkewed = false
    public var isDeleted = false
    /// Not nil: not to be shown as a message.
    public var event: Event?

    /// The message that this one deletes.
    var deletedID: UUID? { event?.kind == "delete" ? event?.id : nil }

    /// Takes back what was written; nobody can restore it from here.
    mutating func delete() {
        text = ""
        receipt = nil
        isDeleted = true
    }
}

extension ChatMessage: Decodable {
    private enum Key: String, CodingKey {
        case id, from, sentAt, receivedAt, text, seq, receipt, skewed, deleted, event
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Key.self)
        id = try fields.decode(UUID.self, forKey: .id)
        from = try fields.decodeIfPresent(String.self, forKey: .from) ?? ""
        sentAt = fields.readable(.sentAt) ?? ""
        receivedAt = fields.readable(.receivedAt)
        text = try fields.decodeIfPresent(String.self, forKey: .text) ?? ""
        seq = try fields.decodeIfPresent(Int64.self, forKey: .seq)
        receipt = fields.readable(.receipt)
        isSkewed = fields.readable(.skewed) ?? false
        isDeleted = fields.readable(.deleted) ?? false
        event = try fields.decodeIfPresent(Event.self, forKey: .event)
        if isDeleted { delete() }
    }
}

extension ChatMessage.Event: Decodable {
    private enum Key: String, CodingKey {
        case kind, id, user, until
        case seconds = "for"
    }

    /// Later versions may mean something else by a field: one that cannot be read is not there.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Key.self)
        kind = fields.readable(.kind) ?? ""
        id = fields.readable(.id)
        user = fields.readable(.user)
        seconds = fields.readable(.seconds)
        until = fields.readable(.until)
    }
}

extension KeyedDecodingContainer {
    /// What the field says; nil when it is not there, or is of another kind.
    fileprivate func readable<Value: Decodable>(_ key: Key) -> Value? {
        do {
            return try decodeIfPresent(Value.self, forKey: key)
        } catch {
            return nil
        }
    }
}

extension UUID {
    /// As the protocol writes ids.
    var lowercased: String { uuidString.lowercased() }

    /// What the digest of heartbeats is made of: the upper half XOR the lower one.
    var folded: UInt64 {
        withUnsafeBytes(of: uuid) { bytes in
            let upper = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
            let lower = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            return upper ^ lower
        }
    }
}
