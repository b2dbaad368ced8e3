public import FoundationEssentials

/// Proves who the user is, where servers ask for that. Printing it shows nothing.
public struct ChatToken: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// The JSON Web Token itself.
    public let text: String
    /// When it ends; a fresh one is fetched before that.
    public let expiresAt: Date?

    /// - Parameter expiresAt: left out, it is read from the token's own `exp`.
    public init(_ text: String, expiresAt: Date? = nil) {
        self.text = text
        self.expiresAt = expiresAt ?? Self.expiry(of: text)
    }

    public var description: String { "a token" }
    public var customMirror: Mirror { Mirror(self, children: [:]) }

    private struct Claims: Decodable {
        var exp: Double?
    }

    /// Nil when there is none to read: whether the token is good is the server's affair.
    private static func expiry(of text: String) -> Date? {
        let parts = text.split(separator: ".")
        guard parts.count == 3 else { return nil }
        var base64 = String(parts[1]).replacing("-", with: "+").replacing("_", with: "/")
        base64 += String(repeating: "=", count: (4 - base64.count % 4) % 4)
        guard let bytes = Data(base64Encoded: base64) else { return nil }
        do {
            return try JSONDecoder().decode(Claims.self, from: bytes).exp
                .map { Date(timeIntervalSince1970: $0) }
        } catch {
            return nil
        }
    }
}
