import FoundationEssentials
import NIOCore
import Postgres
import ShardRouter

/// The frames that a server sends, encoded. Each is one JSON object in UTF-8.
enum ServerFrame {
    /// What a client learns first.
    struct Hello {
        var server: String
        /// Nil when the socket itself names the room in each frame.
        var room: RoomID?
        var user: String
        var time: Timestamp
        /// The highest `seq` that the server knows of; 0 when it knows of none.
        var head: Int64
        /// The message that has it, when it is here.
        var headID: UUID?
        /// Whether the server has the room's latest messages; false while the shard is out of reach.
        var isWarm: Bool
        /// What the user may do here.
        var rights: Rights
    }

    static func hello(_ hello: Hello, limits: ChatLimits) -> ByteBuffer {
        var json = JSONWriter(capacity: 512)
        json.raw("{\"type\":\"hello\",\"protocol\":1,\"server\":")
        json.string(hello.server)
        if let room = hello.room {
            json.raw(",\"room\":")
            json.string(room.text)
        }
        json.raw(",\"user\":")
        json.string(hello.user)
        json.raw(",\"time\":")
        json.time(hello.time)
        json.raw(",\"head\":")
        json.integer(hello.head)
        if let id = hello.headID {
            json.raw(",\"headID\":")
            json.id(id)
        }
        json.raw(",\"heartbeat\":{\"min\":")
        json.milliseconds(limits.heartbeatMin)
        json.raw(",\"max\":")
        json.milliseconds(limits.heartbeatMax)
        json.raw("},\"limits\":{\"textBytes\":")
        json.integer(limits.textBytes)
        json.raw(",\"frameBytes\":")
        json.integer(limits.frameBytes)
        json.raw(",\"messagesPerSecond\":")
        json.integer(limits.messagesPerSecond)
        json.raw("},\"reconnect\":{\"min\":")
        json.milliseconds(limits.reconnectMin)
        json.raw(",\"max\":")
        json.milliseconds(limits.reconnectMax)
        json.raw("},\"warm\":")
        json.boolean(hello.isWarm)
        json.raw(",\"rights\":")
        json.strings(hello.rights.names)
        json.raw("}")
        return json.buffer
    }

    /// A message of the room. The same bytes are an element of `sync` and of `history`.
    ///
    /// - Parameter receipt: nil when the server has no key.
    static func message(
        _ stored: StoredMessage, receipt: String? = nil, limits: ChatLimits
    ) -> ByteBuffer {
        let message = stored.message
        // 256: the names of the fields, an id, two times, a seq and a receipt; some of the text is
        // escaped.
        let textBytes = message.text.utf8.count
        var json = JSONWriter(
            capacity: 256 + message.author.utf8.count + textBytes + textBytes / 16)
        json.raw("{\"type\":\"message\",\"id\":")
        json.id(message.id)
        json.raw(",\"from\":")
        json.string(message.author)
        json.raw(",\"sentAt\":")
        json.time(message.sentAt)
        json.raw(",\"receivedAt\":")
        json.time(message.receivedAt)
        json.raw(",\"text\":")
        json.string(message.text)
        json.raw(",\"seq\":")
        json.integer(stored.seq)
        // What a receipt covers is gone with the text.
        json.receipt(stored.deletedBy == nil ? receipt : nil)
        json.moderation(event: message.event, deletedBy: stored.deletedBy)
        if isSkewed(message, by: limits.clockSkew) { json.raw(",\"skewed\":true") }
        json.raw("}")
        return json.buffer
    }

    /// The author's word that a shard has committed the message.
    static func ack(id: UUID, seq: Int64, receipt: String? = nil) -> ByteBuffer {
        var json = JSONWriter(capacity: 192)
        json.raw("{\"type\":\"ack\",\"id\":")
        json.id(id)
        json.raw(",\"level\":\"stored\",\"seq\":")
        json.integer(seq)
        json.receipt(receipt)
        json.raw("}")
        return json.buffer
    }

    /// The author's word that the message is on this server's disk and will be stored.
    static func ackQueued(id: UUID) -> ByteBuffer {
        var json = JSONWriter(capacity: 96)
        json.raw("{\"type\":\"ack\",\"id\":")
        json.id(id)
        json.raw(",\"level\":\"queued\"}")
        return json.buffer
    }

    /// A fresh token was taken.
    static func token(expiresAt: Timestamp) -> ByteBuffer {
        var json = JSONWriter(capacity: 64)
        json.raw("{\"type\":\"token\",\"expiresAt\":")
        json.time(expiresAt)
        json.raw("}")
        return json.buffer
    }

    /// Asks one client for messages that the server has lost.
    ///
    /// - Parameters:
    ///   - ids: those that the client has reported.
    ///   - above: without ids: tell in the founding form what is above this `seq` or has none.
    static func want(_ ids: [UUID], above: Int64? = nil) -> ByteBuffer {
        var json = JSONWriter(capacity: 64 + ids.count * (MessageID.textBytes + 3))
        json.raw("{\"type\":\"want\",\"ids\":")
        json.strings(ids.lazy.map(MessageID.text(of:)))
        if let above {
            json.raw(",\"above\":")
            json.integer(above)
        }
        json.raw("}")
        return json.buffer
    }

    static func presence(count: Int, joined: [String], left: [String]) -> ByteBuffer {
        var json = JSONWriter(capacity: 64 + 32 * (joined.count + left.count))
        json.raw("{\"type\":\"presence\",\"count\":")
        json.integer(count)
        json.raw(",\"joined\":")
        json.strings(joined)
        json.raw(",\"left\":")
        json.strings(left)
        json.raw("}")
        return json.buffer
    }

    static func typing(from user: String) -> ByteBuffer {
        var json = JSONWriter(capacity: 64)
        json.raw("{\"type\":\"typing\",\"from\":")
        json.string(user)
        json.raw("}")
        return json.buffer
    }

    /// - Parameter isTemporary: whether the same frame may succeed later.
    static func error(
        _ code: ErrorCode, _ message: String, id: UUID? = nil, retryAfter: Duration? = nil,
        isTemporary: Bool = false
    ) -> ByteBuffer {
        var json = JSONWriter(capacity: 192)
        json.raw("{\"type\":\"error\",\"code\":")
        json.string(code.rawValue)
        json.raw(",\"message\":")
        json.string(message)
        if let id {
            json.raw(",\"id\":")
            json.id(id)
        }
        if let retryAfter {
            json.raw(",\"retryAfter\":")
            json.milliseconds(retryAfter)
        }
        json.raw(",\"temporary\":")
        json.boolean(isTemporary)
        json.raw("}")
        return json.buffer
    }

    static func error(_ error: FrameError) -> ByteBuffer {
        self.error(error.code, error.message, id: error.id)
    }

    /// The last frame before the server closes on purpose.
    ///
    /// - Parameter retryAfter: when the client should stay away at least this long.
    static func bye(
        _ code: CloseCode, _ reason: String, reconnectAfter: Duration, retryAfter: Duration? = nil
    ) -> ByteBuffer {
        var json = JSONWriter(capacity: 128)
        json.raw("{\"type\":\"bye\",\"code\":")
        json.integer(code.rawValue)
        json.raw(",\"reason\":")
        json.string(reason)
        json.raw(",\"reconnectAfter\":")
        json.milliseconds(reconnectAfter)
        if let retryAfter {
            json.raw(",\"retryAfter\":")
            json.milliseconds(retryAfter)
        }
        json.raw("}")
        return json.buffer
    }

    /// Whether the author's clock was further off than `skew` when the message arrived.
    static func isSkewed(_ message: Message, by skew: Duration) -> Bool {
        let (difference, overflow) = message.sentAt.microsecondsSince1970
            .subtractingReportingOverflow(message.receivedAt.microsecondsSince1970)
        return overflow || Duration.microseconds(Int64(clamping: difference.magnitude)) > skew
    }
}

extension JSONWriter {
    /// The field `receipt` behind others; nothing without one.
    fileprivate mutating func receipt(_ receipt: String?) {
        guard let receipt else { return }
        raw(",\"receipt\":")
        string(receipt)
    }
}
