import FoundationEssentials

/// A server, as `https://chat.example` or `ws://127.0.0.1:8080`.
struct ChatAddress: Sendable, Equatable {
    var isSecure: Bool
    /// Without brackets.
    var host: String
    var port: Int

    /// - Throws: ``AddressError``, when `text` is no such address.
    init(_ text: String) throws(AddressError) {
        guard let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
            let host = parts.host, !host.isEmpty,
            ["http", "https", "ws", "wss"].contains(scheme)
        else { throw AddressError(text: text) }
        isSecure = scheme == "https" || scheme == "wss"
        self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        port = parts.port ?? (isSecure ? 443 : 80)
    }

    /// What the request's `Host` says.
    var authority: String {
        let shown = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? shown : "\(shown):\(port)"
    }

    /// Whether certificates cannot be asked for it by name.
    var isNumeric: Bool {
        host.contains(":")
            || host.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (48...57).contains($0) }
    }

    /// The way to a room's socket.
    static func path(room: String, user: String?) -> String {
        let path = "/v1/rooms/\(escaped(room))/socket"
        return user.map { "\(path)?user=\(escaped($0))" } ?? path
    }

    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                escaped.append(Character(UnicodeScalar(byte)))
            case _:
                escaped += byte < 16 ? "%0" : "%"
                escaped += String(byte, radix: 16, uppercase: true)
            }
        }
        return escaped
    }
}

/// What was given as a server's address is none.
public struct AddressError: Error, Equatable, CustomStringConvertible {
    public let text: String

    public var description: String {
        "\(text): not an address of a server such as https://chat.example or ws://127.0.0.1:8080"
    }
}
