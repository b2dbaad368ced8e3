import FoundationEssentials
import Logging
import Postgres
import ShardRouter

/// How one chatd runs.
struct ServerConfiguration: Sendable {
    static let defaultBind = HostAndPort(host: "127.0.0.1", port: 8_080)

    var catalog: ConnectionSettings
    /// The address to listen on; port 0 takes any that is free.
    var bind: HostAndPort
    /// Nil: a single server, which has nobody to share rooms with.
    var redis: RedisURL?
    /// How connections to Redis are encrypted; nil when they are not.
    var redisTLS: RedisTLS?
    var origins: OriginRule
    var authentication: Authentication
    /// What everybody may do where identity is open. Whoever opens it to others on purpose does not
    /// mean that all of them may delete each other's messages.
    var openRights: Rights
    var serverName: String
    /// Where the last known topology is kept; nil when there is no place for it.
    var topologyFile: String?
    /// Where messages wait whose shard is away; nil when there is no place for them.
    var spool: SpoolPlace?
    var receiptKeys: ReceiptKeySource
    /// How long stopping takes to let clients go; zero closes all sockets at once.
    var drainTime: Duration
    /// Who is believed when he names a client's address.
    var proxies: TrustedProxies
    var addresses: AddressLimits
    /// What one user, and one room, may do.
    var shared: SharedLimits
    var reading: ReadingLimits
    /// Nil: plain HTTP.
    var tls: TLSFiles?
    /// Nil: nobody can look inside.
    var admin: HostAndPort?
    var logLevel: Logger.Level

    /// - Parameters:
    ///   - hostName: what this machine is called.
    ///   - processID: tells servers on free ports apart.
    init(
        _ sources: SettingSources, hostName: String, processID: Int32
    ) throws(ConfigurationError) {
        catalog = try Self.catalog(sources)
        bind = try Self.bind(sources)
        redis = try Self.redis(sources)
        redisTLS = try Self.redisTLS(sources, redis)
        origins = OriginRule(allowed: try Self.origins(sources))
        serverName = try Self.serverName(
            sources, bind: bind, hostName: hostName, processID: processID)
        topologyFile = try Self.topologyFile(sources, catalog: catalog)
        spool = try Self.spoolPlace(sources)
        receiptKeys = sources[.receiptKeys].map { .file($0.text) } ?? .catalog(catalog)
        drainTime = try Self.drainTime(sources)
        proxies = try Self.proxies(sources)
        addresses = try Self.addressLimits(sources)
        shared = try Self.sharedLimits(sources)
        reading = try Self.readingLimits(sources)
        tls = try Self.tlsFiles(sources)
        admin = try Self.admin(sources)
        logLevel = try Self.logLevel(sources)
        authentication = try Authentication(sources)
        let allowsOpen = try Self.allowsOpen(sources)
        openRights = allowsOpen ? [.read, .write] : .all
        if authentication == .open, !allowsOpen, !bind.isLoopback {
            throw .openToOthers(bind: bind)
        }
        // Behind a proxy the host is whatever the proxy is called.
        origins.isForLoopbackHosts =
            authentication == .open && !allowsOpen && proxies.ranges.isEmpty
    }

    // MARK: One setting each

    static func catalog(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> ConnectionSettings {
        guard let given = sources[.catalog] else {
            throw .missing(
                .catalog,
                advice: "the libpq connection string of the catalog, such as "
                    + "'host=127.0.0.1 port=54320 dbname=catalog user=chatd'")
        }
        do throws(PostgresError) {
            return try ConnectionSettings(given.text)
        } catch {
            throw .bad(given, allowed: "\(error)")
        }
    }

    static func bind(_ sources: SettingSources) throws(ConfigurationError) -> HostAndPort {
        guard let given = sources[.bind] else { return defaultBind }
        guard var address = HostAndPort(given.text) else {
            throw .bad(given, allowed: "an address such as 127.0.0.1:8080 or [::1]:8080")
        }
        address.port = address.port ?? defaultBind.port
        return address
    }

    static func redis(_ sources: SettingSources) throws(ConfigurationError) -> RedisURL? {
        guard let given = sources[.redisURL] else { return nil }
        do throws(RedisURLError) {
            return try RedisURL(given.text)
        } catch {
            throw .bad(given, allowed: "\(error)")
        }
    }

    static func redisTLS(
        _ sources: SettingSources, _ url: RedisURL?
    ) throws(ConfigurationError) -> RedisTLS? {
        let given = sources[.redisCA]
        guard let url, url.isSecure else {
            // Whoever names an authority relies on encryption.
            if let given { throw .bad(given, allowed: "left out, unless Redis is at rediss://") }
            return nil
        }
        do throws(RedisTLSError) {
            return try RedisTLS(authorities: given?.text)
        } catch {
            guard let given else {
                throw .missing(
                    .redisCA, advice: "the system's authorities cannot be read: \(error.reason)")
            }
            throw .bad(given, allowed: "a file with certificates in PEM: \(error.reason)")
        }
    }

    static func origins(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> Set<OriginRule.Origin> {
        guard let given = sources[.allowedOrigins] else { return [] }
        var origins: Set<OriginRule.Origin> = []
        for item in given.text.split(separator: ",") {
            let text = item.drop { $0 == " " }
            guard let origin = OriginRule.Origin(text.prefix { $0 != " " }) else {
                throw .bad(
                    given, allowed: "origins between commas, such as https://chat.example:8443")
            }
            origins.insert(origin)
        }
        return origins
    }

    static func serverName(
        _ sources: SettingSources, bind: HostAndPort, hostName: String, processID: Int32
    ) throws(ConfigurationError) -> String {
        guard let given = sources[.serverName] else {
            let port = bind.port.flatMap { $0 == 0 ? nil : "\($0)" } ?? "p\(processID)"
            return "\(hostName):\(port)"
        }
        let isPlain = given.text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        guard isPlain, (1...64).contains(given.text.utf8.count) else {
            throw .bad(given, allowed: "1 to 64 visible characters of ASCII")
        }
        return given.text
    }

    /// Each cluster has its own file: one that starts without its catalog must not take another
    /// cluster's topology for its own.
    static func topologyFile(
        _ sources: SettingSources, catalog: ConnectionSettings
    ) throws(ConfigurationError) -> String? {
        if let given = sources[.topologyFile] {
            guard !given.text.isEmpty else {
                throw .bad(given, allowed: "the path of a file")
            }
            return given.text
        }
        return stateFolder(sources).map {
            "\($0)/topology-\(fingerprint(catalog.withoutSecrets)).json"
        }
    }

    /// Each server has its own spool: two cannot share one. A server on a port that is new at each
    /// start would not find its spool again, so it has none unless it is told where.
    static func spoolPlace(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> SpoolPlace? {
        if let given = sources[.spoolDir] {
            guard !given.text.isEmpty else { throw .bad(given, allowed: "the path of a folder") }
            return SpoolPlace(folder: given.text, isGiven: true)
        }
        let bind = try bind(sources)
        guard bind.port != 0, let state = stateFolder(sources) else { return nil }
        let name = "\(bind)".map { $0.isLetter || $0.isNumber || $0 == "." ? $0 : "-" }
        return SpoolPlace(folder: "\(state)/spool-\(String(name))", isGiven: false)
    }

    /// Where this program keeps what should outlive it.
    private static func stateFolder(_ sources: SettingSources) -> String? {
        if let folder = sources.environment["XDG_STATE_HOME"], folder.first == "/" {
            return folder + "/chatd"
        }
        if let home = sources.environment["HOME"], home.first == "/" {
            return home + "/.local/state/chatd"
        }
        return nil
    }

    private static func fingerprint(_ text: String) -> String {
        String(UInt64(bitPattern: RingHash(seed: 0).hash(RoomID(text))), radix: 16)
    }

    static func logLevel(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> Logger.Level {
        guard let given = sources[.logLevel] else { return .info }
        guard let level = Logger.Level(rawValue: given.text.lowercased()) else {
            let names = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw .bad(given, allowed: "one of \(names)")
        }
        return level
    }

    static func allowsOpen(_ sources: SettingSources) throws(ConfigurationError) -> Bool {
        guard let given = sources[.allowOpen] else { return false }
        switch given.text.lowercased() {
        case "1", "true", "yes": return true
        case "0", "false", "no": return false
        default: throw .bad(given, allowed: "1 or 0")
        }
    }
}
