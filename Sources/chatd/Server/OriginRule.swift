/// Which web pages may talk to this server: its own, and those that are listed.
///
/// Browsers name the page in `Origin`; other programs send none and are not bound by this rule.
struct OriginRule: Equatable, Sendable {
    /// A page's `scheme://host[:port]`.
    struct Origin: Hashable, Sendable {
        var scheme: String
        var host: String
        /// The scheme's own when none is named.
        var port: Int

        /// The port that an address of this scheme need not name.
        var usualPort: Int { scheme == "https" ? 443 : 80 }

        /// Nil for anything else, `null` included.
        init?(_ text: some StringProtocol) {
            guard let separator = text.firstRange(of: "://") else { return nil }
            switch text[..<separator.lowerBound].lowercased() {
            case "http": (scheme, port) = ("http", 80)
            case "https": (scheme, port) = ("https", 443)
            default: return nil
            }
            guard let address = HostAndPort(text[separator.upperBound...]) else { return nil }
            host = address.host
            port = address.port ?? port
        }
    }

    var allowed: Set<Origin>
    /// Whether a server's own pages are those of loopback hosts alone. So it is where everybody of this
    /// machine is believed: any site can have its name lead to 127.0.0.1, and its pages are then of the
    /// same origin as the server (DNS rebinding).
    var isForLoopbackHosts: Bool

    init(allowed: Set<Origin> = [], isForLoopbackHosts: Bool = false) {
        self.allowed = allowed
        self.isForLoopbackHosts = isForLoopbackHosts
    }

    /// - Parameters:
    ///   - origins: the values of `Origin`; none is fine, several are not.
    ///   - hosts: the values of `Host`.
    func allows(origins: [String], hosts: [String]) -> Bool {
        guard !origins.isEmpty else { return true }
        guard origins.count == 1, let origin = Origin(origins[0]) else { return false }
        if allowed.contains(origin) { return true }
        guard hosts.count == 1, let own = HostAndPort(hosts[0]) else { return false }
        guard own.isLoopback || !isForLoopbackHosts else { return false }
        // Whether TLS ends in front of this server is not known here, so schemes are not compared.
        // A host without a port stands for the usual one of the page's scheme.
        return own.host == origin.host && (own.port ?? origin.usualPort) == origin.port
    }

    /// Whether a request that only reads and names no origin may do so. Browsers leave `Origin` out when
    /// a page reads from its own server, so its host has to tell.
    ///
    /// - Parameter hosts: the values of `Host`; browsers always send one.
    func allowsReading(hosts: [String]) -> Bool {
        !isForLoopbackHosts || hosts.allSatisfy { HostAndPort($0)?.isLoopback ?? false }
    }
}
