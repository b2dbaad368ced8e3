import HTTPTypes

/// What a request says about who sends it, not believed yet. Never shown: it holds a secret.
struct Credentials: Sendable {
    enum Token: Equatable, Sendable {
        case none
        case one(String)
        /// Which of them is meant cannot be told.
        case several
    }

    /// Before the token in the list of subprotocols, where pages put it: they cannot set headers.
    static let subprotocolPrefix = "bearer."

    /// The name in the query.
    var user: String?
    var token: Token

    init(user: String? = nil, token: Token = .none) {
        self.user = user
        self.token = token
    }

    /// - Parameter field: all values of a header field.
    init(_ target: RequestTarget, field: (HTTPField.Name) -> [String]) {
        user = target["user"]
        let values = field(.authorization)
        var tokens = values.compactMap(Self.headerToken)
        // Browsers send the header by themselves for a proxy's own scheme.
        if tokens.isEmpty {
            tokens = Self.words(field(.secWebSocketProtocol)).compactMap(Self.subprotocolToken)
        }
        switch (tokens.count, values.count) {
        case (0, 0...1): token = .none
        case (1, 0...1): token = .one(tokens[0])
        default: token = .several
        }
    }

    /// The items of a list with commas.
    static func words(_ values: [String]) -> [String] {
        values.flatMap { $0.split(separator: ",") }.map { word in
            String(word.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" })
        }.filter { !$0.isEmpty }
    }

    private static func subprotocolToken(_ name: String) -> String? {
        name.hasPrefix(subprotocolPrefix) ? String(name.dropFirst(subprotocolPrefix.count)) : nil
    }

    /// Nil for other schemes than `Bearer`, which this server does not know.
    private static func headerToken(_ value: String) -> String? {
        let scheme = value.prefix { $0 != " " }
        guard scheme.lowercased() == "bearer" else { return nil }
        return String(value.dropFirst(scheme.count).drop { $0 == " " })
    }
}

extension Credentials: CustomStringConvertible {
    var description: String { "credentials" }
}
