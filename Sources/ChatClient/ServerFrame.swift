import FoundationEssentials

/// What a server says. Unknown fields are ignored; a frame that does not fit is no frame.
enum ServerFrame: Sendable {
    struct Hello: Decodable, Sendable {
        struct Bounds: Decodable, Sendable {
            var min: Int64
            var max: Int64

            var delays: Delays.Bounds {
                Delays.Bounds(lower: .milliseconds(min), upper: .milliseconds(max))
            }
        }

        struct Limits: Decodable, Sendable {
            var textBytes: Int?
            var frameBytes: Int?
            var messagesPerSecond: Int?
        }

        var server: String?
        var user: String?
        var head: Int64?
        var headID: UUID?
        var heartbeat: Bounds?
        var limits: Limits?
        var reconnect: Bounds?
        var warm: Bool?
    }

    struct Ack: Decodable, Sendable {
        var id: UUID
        var level: String
        var seq: Int64?
    }

    struct Page: Decodable, Sendable {
        private enum Key: String, CodingKey { case messages, complete }

        /// A message, unless it cannot be read.
        private struct Entry: Decodable {
            var message: ChatMessage?

            init(from decoder: any Decoder) {
                do {
                    message = try ChatMessage(from: decoder)
                } catch {
                    message = nil
                }
            }
        }

        var messages: [ChatMessage]
        var complete: Bool

        /// What cannot be read is passed over: without the rest it would be asked for for ever.
        init(from decoder: any Decoder) throws {
            let fields = try decoder.container(keyedBy: Key.self)
            messages = try fields.decode([Entry].self, forKey: .messages).compactMap(\.message)
            complete = try fields.decode(Bool.self, forKey: .complete)
        }
    }

    struct Want: Decodable, Sendable {
        var ids: [String]
        var above: Int64?
    }

    struct Presence: Decodable, Sendable {
        var count: Int
        var joined: [String]
        var left: [String]
    }

    struct Bye: Decodable, Sendable {
        var code: UInt16?
        var reason: String?
        var reconnectAfter: Int64?
        var retryAfter: Int64?
    }

    struct Sequenced: Decodable, Sendable {
        var id: UUID
        var seq: Int64
    }

    struct Typing: Decodable, Sendable {
        var from: String
    }

    case hello(Hello)
    case message(ChatMessage)
    case stored(Sequenced)
    case ack(Ack)
    case sync(Page)
    case history(Page)
    case want(Want)
    case presence(Presence)
    case typing(Typing)
    case error(ChatFault)
    case bye(Bye)
    /// Nothing that a client of this version acts on.
    case other

    /// Nil when `text` is not the protocol; heartbeats repair whatever it may have been.
    static func read(_ text: String) -> ServerFrame? {
        do {
            return try JSONDecoder().decode(ServerFrame.self, from: Data(text.utf8))
        } catch {
            return nil
        }
    }

    /// What the frame says about which id has which `seq`.
    var places: [(seq: Int64, id: UUID)] {
        switch self {
        case .message(let message): Self.places(of: [message])
        case .sync(let page), .history(let page): Self.places(of: page.messages)
        case .hello(let hello):
            hello.headID.map { [(seq: hello.head ?? 0, id: $0)] } ?? []
        case .stored, .ack, .want, .presence, .typing, .error, .bye, .other: []
        }
    }

    private static func places(of messages: [ChatMessage]) -> [(seq: Int64, id: UUID)] {
        messages.compactMap { message in message.seq.map { (seq: $0, id: message.id) } }
    }
}

extension ServerFrame: Decodable {
    private enum Key: String, CodingKey { case type }

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Key.self)
        switch try fields.decodeIfPresent(String.self, forKey: .type) {
        case "hello": self = .hello(try Hello(from: decoder))
        case "message": self = .message(try ChatMessage(from: decoder))
        case "stored": self = .stored(try Sequenced(from: decoder))
        case "ack": self = .ack(try Ack(from: decoder))
        case "sync": self = .sync(try Page(from: decoder))
        case "history": self = .history(try Page(from: decoder))
        case "want": self = .want(try Want(from: decoder))
        case "presence": self = .presence(try Presence(from: decoder))
        case "typing": self = .typing(try Typing(from: decoder))
        case "error": self = .error(try ChatFault(from: decoder))
        case "bye": self = .bye(try Bye(from: decoder))
        case .some, .none: self = .other
        }
    }
}
