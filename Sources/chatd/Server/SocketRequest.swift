import FoundationEssentials
import HTTPTypes
import ShardRouter

/// A request to open a socket that was found good: the rules of RFC 6455 and of the chat, in one
/// place for both who upgrade and who explain why not.
struct SocketRequest {
    /// The subprotocol that this server speaks.
    static let subprotocol = "chat.v1"

    /// Nil: the socket is for many rooms, which its frames name.
    var room: RoomID?
    /// Who asks. What is wrong with that is told by a close frame: pages cannot read the answer to
    /// an upgrade that failed.
    var credentials: Credentials
    /// What the answer names, if the client offered any.
    var subprotocol: String?
    /// The client's `Sec-WebSocket-Key`.
    var key: String

    /// - Parameters:
    ///   - room: the name in the path, decoded; nil when the path names none.
    ///   - hosts: the values of `Host`.
    ///   - field: all values of another header field.
    /// - Throws: What an HTTP answer says instead.
    init(
        room: String?, target: RequestTarget, origins: OriginRule, hosts: [String],
        field: (HTTPField.Name) -> [String]
    ) throws(HTTPRefusal) {
        do throws(FrameError) {
            if let room { self.room = try RoomName.parse(room) }
        } catch {
            throw HTTPRefusal(error)
        }
        guard origins.allows(origins: field(.origin), hosts: hosts) else {
            throw .foreignOrigin
        }
        guard Self.list(field(.upgrade)).contains("websocket"),
            Self.list(field(.connection)).contains("upgrade")
        else { throw .needsUpgrade("a WebSocket is opened by an Upgrade request") }
        guard field(.secWebSocketVersion) == ["13"] else {
            throw .needsUpgrade("only version 13 of the WebSocket protocol is understood")
        }
        let keys = field(.secWebSocketKey)
        guard keys.count == 1, Data(base64Encoded: keys[0])?.count == 16 else {
            throw HTTPRefusal(
                .badRequest, code: "badRequest", "Sec-WebSocket-Key: must be 16 bytes in base64")
        }
        key = keys[0]
        // Names of subprotocols are told apart by case.
        let offered = Credentials.words(field(.secWebSocketProtocol))
        guard offered.isEmpty || offered.contains(Self.subprotocol) else {
            throw HTTPRefusal(
                .badRequest, code: "badRequest",
                "Sec-WebSocket-Protocol: only \(Self.subprotocol) is spoken here")
        }
        subprotocol = offered.isEmpty ? nil : Self.subprotocol
        credentials = Credentials(target, field: field)
    }

    private static func list(_ values: [String]) -> [String] {
        Credentials.words(values).map { $0.lowercased() }
    }
}

extension HTTPRefusal {
    fileprivate static func needsUpgrade(_ message: String) -> HTTPRefusal {
        var refusal = HTTPRefusal(.upgradeRequired, code: "upgradeRequired", message)
        refusal.headers[.upgrade] = "websocket"
        refusal.headers[.secWebSocketVersion] = "13"
        return refusal
    }
}
