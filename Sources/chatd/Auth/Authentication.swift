/// How people prove who they are, as the settings say it.
enum Authentication: Equatable, Sendable {
    /// Not at all: they say a name.
    case open
    case tokens(TokenSettings)

    init(_ sources: SettingSources) throws(ConfigurationError) {
        let given = sources[.auth]
        switch given?.text ?? "open" {
        case "open":
            // Whoever sets one of these relies on it.
            for setting in [Setting.jwtKeys, .jwtAudience, .jwtIssuer] {
                if let given = sources[setting] { throw .needsTokens(given) }
            }
            self = .open
        case "jwt":
            self = .tokens(try TokenSettings(sources))
        default:
            guard let given else { preconditionFailure("the default is known") }
            throw .bad(given, allowed: "open or jwt")
        }
    }
}

/// How tokens are checked.
struct TokenSettings: Equatable, Sendable {
    /// The file with the keys.
    var keys: String
    /// What `aud` must name; nil: it is not looked at.
    var audience: String?
    /// What `iss` must be; nil: it is not looked at.
    var issuer: String?

    init(_ sources: SettingSources) throws(ConfigurationError) {
        guard let given = sources[.jwtKeys] else {
            throw .missing(.jwtKeys, advice: "the file with the keys that prove tokens")
        }
        let isContent = ["hs256:", "-----BEGIN", "{", "kid:"].contains { given.text.hasPrefix($0) }
        guard !given.text.isEmpty, !isContent else {
            throw .bad(given, allowed: "must be the path of a file, not the keys themselves")
        }
        keys = given.text
        audience = try Self.name(sources[.jwtAudience])
        issuer = try Self.name(sources[.jwtIssuer])
    }

    private static func name(_ given: GivenValue?) throws(ConfigurationError) -> String? {
        guard let given else { return nil }
        guard !given.text.isEmpty else { throw .bad(given, allowed: "a text that is not empty") }
        return given.text
    }
}
