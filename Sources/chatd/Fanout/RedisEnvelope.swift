import ShardRouter

/// How a room's payload looks on its way through Redis.
///
/// The channel is a prefix and the room's bytes. The message is one byte for the version, the tag
/// of the server that sent it, and the payload as it is: Redis sends a publisher its own messages
/// back, and the tag tells them from others'.
struct RedisEnvelope: Sendable {
    private static let version: UInt8 = 1
    private static let tagBytes = 8

    private let prefix: [UInt8]
    private let head: [UInt8]

    /// - Parameters:
    ///   - prefix: says which cluster this is; servers with the same prefix hear each other.
    ///   - origin: a number of this server's own.
    init(prefix: String, origin: UInt64) {
        self.prefix = Array(prefix.utf8)
        head = withUnsafeBytes(of: origin.bigEndian) { [RedisEnvelope.version] + $0 }
    }

    func channel(of room: RoomID) -> [UInt8] {
        prefix + room.text.utf8
    }

    /// Nil when the channel is not of this cluster.
    func room(ofChannel channel: [UInt8]) -> RoomID? {
        guard channel.starts(with: prefix) else { return nil }
        return String(validating: channel[prefix.count...], as: UTF8.self).map { RoomID($0) }
    }

    func sealed(_ payload: [UInt8]) -> [UInt8] {
        head + payload
    }

    /// The payload of another server; nil when it is our own, or not of this form.
    func opened(_ message: [UInt8]) -> [UInt8]? {
        guard message.count >= 1 + RedisEnvelope.tagBytes, message[0] == RedisEnvelope.version,
            !message.starts(with: head)
        else { return nil }
        return Array(message[head.count...])
    }
}
