import FoundationEssentials
import NIOCore
import Postgres

/// What a moderator does to a room.
enum Moderation: Equatable, Sendable {
    /// The message's text is gone; its place stays.
    case delete(UUID)
    /// The user's messages are refused for so many seconds; nil: until ``unmute(_:)``.
    case mute(String, seconds: Int64?)
    case unmute(String)
    /// The user's sockets are closed, and he may not come back for so many seconds; nil: he may
    /// come back at once.
    case kick(String, seconds: Int64?)
    /// The user may come back before the end that his ``kick(_:seconds:)`` gave.
    case unbar(String)

    /// Ten years: longer is meant to be for ever.
    static let secondsAtMost: Int64 = 10 * 365 * 86_400

    /// The word for it in frames, in the shards and in the log.
    var kind: String {
        switch self {
        case .delete: "delete"
        case .mute: "mute"
        case .unmute: "unmute"
        case .kick: "kick"
        case .unbar: "unbar"
        }
    }

    /// Whom it is about; nil when it is about a message.
    var user: String? {
        switch self {
        case .delete: nil
        case .mute(let user, _), .unmute(let user), .kick(let user, _), .unbar(let user): user
        }
    }

    /// How long it holds; nil when it has no end of its own.
    var seconds: Int64? {
        switch self {
        case .mute(_, let seconds), .kick(_, let seconds): seconds
        case .delete, .unmute, .unbar: nil
        }
    }
}

/// What a moderator's client asks for.
struct ModerationOrder: Equatable, Sendable {
    /// UUID version 4: the id of the event in the room's order.
    var id: UUID
    var sentAt: Timestamp
    var act: Moderation
}

/// An act as it stands in the room's order.
struct ModerationEvent: Equatable, Sendable {
    var act: Moderation
    /// When a server received it.
    var at: Timestamp
    /// When it ends; nil when it has no end of its own.
    private(set) var until: Timestamp?

    init(_ act: Moderation, at: Timestamp) {
        self.act = act
        self.at = at
        // Frames show milliseconds, and what they show is what holds.
        until = act.seconds.map {
            let end = at.advanced(by: .seconds($0))
            return Timestamp(microsecondsSince1970: end.wholeMilliseconds * 1_000)
        }
    }

    /// The one form in which shards keep an event, frames show it, and receipts cover it.
    var json: String {
        var json = JSONWriter(capacity: 128)
        json.raw("{\"kind\":")
        json.string(act.kind)
        switch act {
        case .delete(let id):
            json.raw(",\"id\":")
            json.id(id)
        case .mute(let user, _), .unmute(let user), .kick(let user, _), .unbar(let user):
            json.raw(",\"user\":")
            json.string(user)
        }
        if let seconds = act.seconds {
            json.raw(",\"for\":")
            json.integer(seconds)
        }
        if let until {
            json.raw(",\"until\":")
            json.time(until)
        }
        json.raw("}")
        return String(buffer: json.buffer)
    }

    /// Reads an event that this program has written, here or on another server.
    ///
    /// Nil when it is of a kind that is not known, or broken.
    init?(json: String, at: Timestamp) {
        let event = Array(json.utf8).withUnsafeBytes { bytes -> ModerationEvent? in
            var scanner = JSONScanner(bytes)
            var fields = Fields()
            do throws(JSONError) {
                let reader = scanner
                try scanner.readObject { key, value in
                    fields.take(reader.text(of: key), value)
                }
            } catch {
                return nil
            }
            return ModerationEvent(fields, scanner, at: at)
        }
        guard let event else { return nil }
        self = event
    }

    /// Reads `object`, a value of `scanner`'s text.
    init?(_ object: JSONValue, in scanner: JSONScanner, at: Timestamp) {
        guard object.kind == .object else { return nil }
        var fields = Fields()
        do throws(JSONError) {
            try scanner.members(of: object) { key, value in
                fields.take(scanner.text(of: key), value)
            }
        } catch {
            return nil
        }
        self.init(fields, scanner, at: at)
    }

    private struct Fields {
        var kind, id, user, seconds, until: JSONValue?

        mutating func take(_ name: String?, _ value: JSONValue) {
            switch name {
            case "kind": kind = value
            case "id": id = value
            case "user": user = value
            case "for": seconds = value
            case "until": until = value
            default: break
            }
        }
    }

    private init?(_ fields: Fields, _ scanner: JSONScanner, at: Timestamp) {
        self.at = at
        until = fields.until.flatMap(scanner.text(of:)).flatMap(Timestamp.init(rfc3339:))
        let user = fields.user.flatMap(scanner.text(of:)) ?? ""
        let seconds = fields.seconds.flatMap(scanner.integer(of:))
        guard let kind = fields.kind.flatMap(scanner.text(of:)),
            kind == "delete" || !user.isEmpty && user.utf8.count <= UserName.bytesAtMost
        else { return nil }
        switch kind {
        case "delete":
            guard let id = fields.id.flatMap(scanner.content(of:)).flatMap(MessageID.parse)
            else { return nil }
            act = .delete(id)
        case "mute": act = .mute(user, seconds: seconds)
        case "unmute": act = .unmute(user)
        case "kick": act = .kick(user, seconds: seconds)
        case "unbar": act = .unbar(user)
        default: return nil
        }
        guard (act.seconds == nil) == (until == nil) else { return nil }
    }
}
