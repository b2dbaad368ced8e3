import FoundationEssentials
import NIOCore
import Postgres

/// What servers tell each other about a room over pub/sub.
///
/// Binary, big-endian: one byte for the version, one for the kind, then the fields. Other versions
/// and kinds are ignored by those who do not know them, so that servers can be replaced one by one.
enum RoomEvent: Equatable {
    /// A shard has committed a message. `frame` is the encoded `message` frame for the readers.
    ///
    /// - Parameter event: what a moderator did, when the message is that.
    case message(
        seq: Int64, id: UUID, author: String, frame: ByteBuffer, event: ModerationEvent? = nil)
    /// These users are on `server`, for so long if nothing more is heard; `head` is the highest
    /// `seq` that the server has seen in the room.
    case present([(user: String, remaining: Duration)], on: UUID, head: Int64)
    /// So many users are on `server`, too many for names.
    case counted(Int, on: UUID, head: Int64)
    /// `user` has left `server`.
    case departed(user: String, from: UUID)
    case typing(user: String)
    /// A server asks a client for these messages: others need not.
    case wanting([UUID])
    /// A server has begun to listen: tell it who is there.
    case asked

    static func == (one: RoomEvent, other: RoomEvent) -> Bool {
        one.encoded() == other.encoded()
    }
}

extension RoomEvent {
    private static let version: UInt8 = 1

    private enum Kind: UInt8 {
        case message = 1
        case present = 2
        case departed = 3
        case typing = 4
        case asked = 5
        case wanting = 6
        case counted = 7
        case moderated = 8
    }

    /// The highest `seq` that is believed; a room that writes a million messages a second reaches
    /// it in 146,000 years.
    private static let seqAtMost: Int64 = 1 << 62

    func encoded() -> [UInt8] {
        var buffer = ByteBufferAllocator().buffer(capacity: capacity)
        buffer.writeInteger(RoomEvent.version)
        switch self {
        case .message(let seq, let id, let author, let frame, let event):
            buffer.writeInteger((event == nil ? Kind.message : .moderated).rawValue)
            buffer.writeInteger(seq)
            buffer.writeID(id)
            buffer.writeName(author)
            if let event {
                buffer.writeInteger(event.at.microsecondsSince1970)
                buffer.writeName(event.json)
            }
            buffer.writeImmutableBuffer(frame)
        case .present(let users, let server, let head):
            buffer.writeInteger(Kind.present.rawValue)
            buffer.writeID(server)
            buffer.writeInteger(head)
            for (user, remaining) in users {
                buffer.writeInteger(UInt32(clamping: remaining.wholeMilliseconds))
                buffer.writeName(user)
            }
        case .counted(let count, let server, let head):
            buffer.writeInteger(Kind.counted.rawValue)
            buffer.writeID(server)
            buffer.writeInteger(head)
            buffer.writeInteger(UInt32(clamping: count))
        case .departed(let user, let server):
            buffer.writeInteger(Kind.departed.rawValue)
            buffer.writeID(server)
            buffer.writeName(user)
        case .typing(let user):
            buffer.writeInteger(Kind.typing.rawValue)
            buffer.writeName(user)
        case .wanting(let ids):
            buffer.writeInteger(Kind.wanting.rawValue)
            for id in ids { buffer.writeID(id) }
        case .asked:
            buffer.writeInteger(Kind.asked.rawValue)
        }
        return Array(buffer.readableBytesView)
    }

    /// The event in `payload`; nil when it is of another version, of an unknown kind, or broken.
    static func decode(_ payload: [UInt8]) -> RoomEvent? {
        var buffer = ByteBuffer(bytes: payload)
        guard buffer.readInteger(as: UInt8.self) == version,
            let number = buffer.readInteger(as: UInt8.self), let kind = Kind(rawValue: number)
        else { return nil }
        switch kind {
        case .message: return message(&buffer, isEvent: false)
        case .moderated: return message(&buffer, isEvent: true)
        case .present: return present(&buffer)
        case .counted: return counted(&buffer)
        case .departed:
            guard let server = buffer.readID(), let user = buffer.readName() else { return nil }
            return .departed(user: user, from: server)
        case .typing:
            return buffer.readName().map { .typing(user: $0) }
        case .wanting:
            return wanting(&buffer)
        case .asked:
            return .asked
        }
    }

    private static func message(_ buffer: inout ByteBuffer, isEvent: Bool) -> RoomEvent? {
        guard let seq = buffer.readInteger(as: Int64.self), (1...seqAtMost).contains(seq),
            let id = buffer.readID(), let author = buffer.readName()
        else { return nil }
        var event: ModerationEvent?
        if isEvent {
            guard let at = buffer.readInteger(as: Int64.self), let json = buffer.readName()
            else { return nil }
            event = ModerationEvent(json: json, at: Timestamp(microsecondsSince1970: at))
            if event == nil { return nil }
        }
        guard buffer.readableBytesView.first == UInt8(ascii: "{") else { return nil }
        return .message(seq: seq, id: id, author: author, frame: buffer.slice(), event: event)
    }

    private static func present(_ buffer: inout ByteBuffer) -> RoomEvent? {
        guard let server = buffer.readID(), let head = buffer.readInteger(as: Int64.self),
            (0...seqAtMost).contains(head)
        else { return nil }
        var users: [(user: String, remaining: Duration)] = []
        while buffer.readableBytes > 0 {
            guard let milliseconds = buffer.readInteger(as: UInt32.self),
                let user = buffer.readName()
            else { return nil }
            users.append((user, .milliseconds(milliseconds)))
        }
        return .present(users, on: server, head: head)
    }

    private static func wanting(_ buffer: inout ByteBuffer) -> RoomEvent? {
        var ids: [UUID] = []
        while buffer.readableBytes > 0 {
            guard let id = buffer.readID() else { return nil }
            ids.append(id)
        }
        return ids.isEmpty ? nil : .wanting(ids)
    }

    private static func counted(_ buffer: inout ByteBuffer) -> RoomEvent? {
        guard let server = buffer.readID(), let head = buffer.readInteger(as: Int64.self),
            (0...seqAtMost).contains(head), let count = buffer.readInteger(as: UInt32.self)
        else { return nil }
        return .counted(Int(count), on: server, head: head)
    }

    /// About how many bytes the event takes.
    private var capacity: Int {
        switch self {
        case .message(_, _, let author, let frame, let event):
            28 + author.utf8.count + frame.readableBytes + (event == nil ? 0 : 512)
        case .present(let users, _, _):
            26 + users.reduce(0) { $0 + 6 + $1.user.utf8.count }
        case .wanting(let ids): 2 + ids.count * 16
        case .departed, .typing, .asked, .counted: 64
        }
    }
}

extension ByteBuffer {
    fileprivate mutating func writeID(_ id: UUID) {
        _ = withUnsafeBytes(of: id.uuid) { writeBytes($0) }
    }

    fileprivate mutating func readID() -> UUID? {
        guard let upper = readInteger(as: UInt64.self), let lower = readInteger(as: UInt64.self)
        else { return nil }
        return UUID(upper: upper, lower: lower)
    }

    /// Names are bounded by ``UserName``; a longer one would be cut by no reader.
    fileprivate mutating func writeName(_ name: String) {
        precondition(name.utf8.count <= UInt16.max, "names are short")
        writeInteger(UInt16(name.utf8.count))
        writeString(name)
    }

    fileprivate mutating func readName() -> String? {
        guard let bytes = readInteger(as: UInt16.self),
            let content = readSlice(length: Int(bytes))
        else { return nil }
        return String(validating: content.readableBytesView, as: UTF8.self)
    }
}
