/// One thing that can be set: by a flag, else by a variable, else in the file, else its default.
enum Setting: String, CaseIterable, Sendable {
    case catalog
    case bind
    case redisURL
    case redisCA
    case auth
    case allowOpen
    case jwtKeys
    case jwtAudience
    case jwtIssuer
    case allowedOrigins
    case serverName
    case topologyFile
    case spoolDir
    case receiptKeys
    case drainTime
    case trustedProxies
    case addressSockets
    case addressRate
    case addressPages
    case userSockets
    case userRate
    case userPages
    case roomSockets
    case roomRate
    case tlsCertificate
    case tlsKey
    case adminBind
    case logLevel

    /// The name in a configuration file.
    var key: String { rawValue }

    var flag: String {
        switch self {
        case .catalog: "--catalog"
        case .bind: "--bind"
        case .redisURL: "--redis-url"
        case .redisCA: "--redis-ca"
        case .auth: "--auth"
        case .allowOpen: "--allow-open"
        case .jwtKeys: "--jwt-keys"
        case .jwtAudience: "--jwt-audience"
        case .jwtIssuer: "--jwt-issuer"
        case .allowedOrigins: "--allowed-origins"
        case .serverName: "--server-name"
        case .topologyFile: "--topology-file"
        case .spoolDir: "--spool-dir"
        case .receiptKeys: "--receipt-keys"
        case .drainTime: "--drain-time"
        case .trustedProxies: "--trusted-proxies"
        case .addressSockets: "--address-sockets"
        case .addressRate: "--address-rate"
        case .addressPages: "--address-pages"
        case .userSockets: "--user-sockets"
        case .userRate: "--user-rate"
        case .userPages: "--user-pages"
        case .roomSockets: "--room-sockets"
        case .roomRate: "--room-rate"
        case .tlsCertificate: "--tls-cert"
        case .tlsKey: "--tls-key"
        case .adminBind: "--admin-bind"
        case .logLevel: "--log-level"
        }
    }

    /// The name in the environment.
    var variable: String {
        switch self {
        case .catalog: "SHARD_CATALOG"
        case .bind: "CHATD_BIND"
        case .redisURL: "CHATD_REDIS_URL"
        case .redisCA: "CHATD_REDIS_CA"
        case .auth: "CHATD_AUTH"
        case .allowOpen: "CHATD_ALLOW_OPEN"
        case .jwtKeys: "CHATD_JWT_KEYS"
        case .jwtAudience: "CHATD_JWT_AUDIENCE"
        case .jwtIssuer: "CHATD_JWT_ISSUER"
        case .allowedOrigins: "CHATD_ALLOWED_ORIGINS"
        case .serverName: "CHATD_SERVER_NAME"
        case .topologyFile: "CHATD_TOPOLOGY_FILE"
        case .spoolDir: "CHATD_SPOOL_DIR"
        case .receiptKeys: "CHATD_RECEIPT_KEYS"
        case .drainTime: "CHATD_DRAIN_TIME"
        case .trustedProxies: "CHATD_TRUSTED_PROXIES"
        case .addressSockets: "CHATD_ADDRESS_SOCKETS"
        case .addressRate: "CHATD_ADDRESS_RATE"
        case .addressPages: "CHATD_ADDRESS_PAGES"
        case .userSockets: "CHATD_USER_SOCKETS"
        case .userRate: "CHATD_USER_RATE"
        case .userPages: "CHATD_USER_PAGES"
        case .roomSockets: "CHATD_ROOM_SOCKETS"
        case .roomRate: "CHATD_ROOM_RATE"
        case .tlsCertificate: "CHATD_TLS_CERT"
        case .tlsKey: "CHATD_TLS_KEY"
        case .adminBind: "CHATD_ADMIN_BIND"
        case .logLevel: "CHATD_LOG_LEVEL"
        }
    }

    /// Whether the value may hold a secret – for the file of keys by mistake – so that it is never
    /// shown.
    var isSecret: Bool { [.catalog, .redisURL, .jwtKeys, .receiptKeys].contains(self) }

}

/// A setting's value, and where it was found.
struct GivenValue: Equatable, Sendable {
    enum Source: Equatable, Sendable {
        case flag, environment
        case file(path: String)
    }

    var setting: Setting
    var text: String
    var source: Source

    /// For people: `CHATD_BIND`, or `"bind" in chatd.json`.
    var place: String {
        switch source {
        case .flag: setting.flag
        case .environment: setting.variable
        case .file(let path): "\"\(setting.key)\" in \(path)"
        }
    }
}

/// Why the settings cannot be used, in words for people.
enum ConfigurationError: Error, Equatable {
    case missing(Setting, advice: String)
    case bad(GivenValue, allowed: String)
    case unreadableFile(path: String, reason: String)
    case unknownKey(String, path: String)
    /// The file has a value of the wrong kind.
    case badKind(Setting, path: String, allowed: String)
    /// A setting for tokens, where no tokens are checked.
    case needsTokens(GivenValue)
    /// Open authentication where others than this machine's own programs can come in.
    case openToOthers(bind: HostAndPort)
    /// The admin listener where others than this machine's own programs can come in.
    case adminToOthers(bind: HostAndPort)

    /// 64 for what was written wrong, 2 for what is refused.
    var exitCode: Int32 {
        switch self {
        case .missing, .bad, .unreadableFile, .unknownKey, .badKind: 64
        case .needsTokens, .openToOthers, .adminToOthers: 2
        }
    }
}

extension ConfigurationError: CustomStringConvertible {
    var description: String {
        switch self {
        case .missing(let setting, let advice):
            "\(setting.flag) (or \(setting.variable)) is missing: \(advice)"
        case .bad(let given, let allowed):
            given.setting.isSecret
                ? "\(given.place): \(allowed)"
                : "\(given.place) is '\(given.text)', but must be \(allowed)"
        case .unreadableFile(let path, let reason):
            "the configuration file \(path) cannot be used: \(reason)"
        case .unknownKey(let key, let path):
            "\"\(key)\" in \(path) is not a setting; there are: "
                + Setting.allCases.map(\.key).joined(separator: ", ")
        case .badKind(let setting, let path, let allowed):
            "\"\(setting.key)\" in \(path) must be \(allowed)"
        case .needsTokens(let given):
            "\(given.place) is set, but tokens are checked only with \(Setting.auth.flag) jwt "
                + "(\(Setting.auth.variable)=jwt)"
        case .openToOthers(let bind):
            "with \(Setting.auth.variable)=open anybody can chat under any name, so only loopback "
                + "addresses are served, not \(bind); use --bind 127.0.0.1:8080, or "
                + "\(Setting.allowOpen.flag) (\(Setting.allowOpen.variable)=1) if you mean it"
        case .adminToOthers(let bind):
            "\(Setting.adminBind.variable) is \(bind), but the admin listener asks nobody who he is: "
                + "only loopback addresses are served, such as 127.0.0.1:9080"
        }
    }
}
