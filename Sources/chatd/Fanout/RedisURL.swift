/// Where Redis is: `redis://[[user]:password@]host[:port][/database]`; `rediss://` with TLS.
///
/// Neither its description nor an error about it quotes what might be a password.
struct RedisURL: Sendable, Equatable {
    /// What Redis is told about who comes.
    struct Credentials: Sendable, Equatable {
        /// Nil stands for Redis' user `default`.
        var user: String?
        var password: String
    }

    static let defaultPort = 6_379

    /// Whether the connection is encrypted.
    let isSecure: Bool
    let host: String
    let port: Int
    let database: Int
    let credentials: Credentials?

    var address: RedisAddress { RedisAddress(host: host, port: port) }

    init(_ text: String) throws(RedisURLError) {
        var rest: Substring
        (isSecure, rest) = try RedisURL.scheme(text)
        // The last one: a password may hold more of them.
        if let at = rest.lastIndex(of: "@") {
            credentials = try RedisURL.credentials(rest[..<at])
            rest = rest[rest.index(after: at)...]
        } else {
            credentials = nil
        }
        guard !rest.contains(where: { $0 == "?" || $0 == "#" }) else { throw .hasQuery }
        if let slash = rest.firstIndex(of: "/") {
            database = try RedisURL.database(rest[rest.index(after: slash)...])
            rest = rest[..<slash]
        } else {
            database = 0
        }
        (host, port) = try RedisURL.address(rest)
    }

    private static func scheme(
        _ text: String
    ) throws(RedisURLError) -> (isSecure: Bool, rest: Substring) {
        guard let range = text.firstRange(of: "://") else { throw .noScheme }
        switch text[..<range.lowerBound].lowercased() {
        case "redis": return (false, text[range.upperBound...])
        case "rediss": return (true, text[range.upperBound...])
        default: throw .noScheme
        }
    }

    private static func credentials(_ text: Substring) throws(RedisURLError) -> Credentials {
        guard let colon = text.firstIndex(of: ":") else { throw .noPassword }
        let user = try decoded(text[..<colon])
        let password = try decoded(text[text.index(after: colon)...])
        guard !password.isEmpty else { throw .noPassword }
        return Credentials(user: user.isEmpty ? nil : user, password: password)
    }

    private static func address(
        _ text: Substring
    ) throws(RedisURLError) -> (host: String, port: Int) {
        var host = text
        var port: Substring?
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { throw .badHost }
            host = text[text.index(after: text.startIndex)..<end]
            let tail = text[text.index(after: end)...]
            guard tail.isEmpty || tail.first == ":" else { throw .badHost }
            port = tail.isEmpty ? nil : tail.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard !host.isEmpty, !host.contains(where: { $0.isWhitespace }) else { throw .badHost }
        guard let port else { return (String(host), defaultPort) }
        guard let number = digits(port), (1...65_535).contains(number) else { throw .badPort }
        return (String(host), number)
    }

    private static func database(_ text: Substring) throws(RedisURLError) -> Int {
        guard !text.isEmpty else { return 0 }
        guard let number = digits(text) else { throw .badDatabase }
        return number
    }

    /// Like `Int`, but without signs.
    private static func digits(_ text: Substring) -> Int? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int(text)
    }

    /// Resolves `%2F` and the like.
    private static func decoded(_ text: Substring) throws(RedisURLError) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = hexadecimal(rest.prefix(2)) else {
                throw .badEscape
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        guard let string = String(validating: bytes, as: UTF8.self) else { throw .badEscape }
        return string
    }

    private static func hexadecimal(_ pair: Substring.UTF8View.SubSequence) -> UInt8? {
        guard pair.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }) else { return nil }
        return UInt8(Substring(pair), radix: 16)
    }
}

extension RedisURL: CustomStringConvertible, CustomReflectable {
    /// The address without user and password; fit for logs.
    var description: String {
        "\(isSecure ? "rediss" : "redis")://\(address)/\(database)"
    }

    /// A dump shows no more than the description.
    var customMirror: Mirror { Mirror(self, children: ["address": description]) }
}

extension RedisURL.Credentials: CustomStringConvertible, CustomReflectable {
    var description: String { "credentials" }
    var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// What is wrong with the text of a ``RedisURL``. Quotes nothing of it.
enum RedisURLError: Error, Equatable, CustomStringConvertible {
    case noScheme
    case noPassword
    case badEscape
    case badHost
    case badPort
    case badDatabase
    case hasQuery

    var description: String {
        let problem =
            switch self {
            case .noScheme: "it does not begin with redis:// or rediss://"
            case .noPassword: "there is an @ but no password before it (write user:password@)"
            case .badEscape: "a % in user or password is not followed by two hexadecimal digits"
            case .badHost: "the host is missing or not a host name"
            case .badPort: "the port is not a number from 1 to 65535"
            case .badDatabase: "the database is not a number"
            case .hasQuery: "parameters after ? or # are not known"
            }
        return
            "not a Redis address: \(problem); expected redis://[[user]:password@]host[:port][/db]"
    }
}
