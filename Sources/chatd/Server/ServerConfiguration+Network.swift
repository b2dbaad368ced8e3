/// Where a server's certificate is.
struct TLSFiles: Equatable, Sendable {
    /// The chain in PEM, the server's own certificate first.
    var certificate: String
    /// The private key in PEM.
    var key: String
}

/// Settings of what stands between a server and its clients.
extension ServerConfiguration {
    static func drainTime(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> Duration {
        guard let given = sources[.drainTime] else { return .seconds(10) }
        guard let seconds = Double(given.text), (0...600).contains(seconds) else {
            throw .bad(given, allowed: "seconds, 0 to 600")
        }
        return .seconds(seconds)
    }

    static func proxies(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> TrustedProxies {
        guard let given = sources[.trustedProxies] else { return TrustedProxies() }
        var ranges: Set<AddressRange> = []
        for item in given.text.split(separator: ",") {
            let text = item.drop { $0 == " " }.prefix { $0 != " " }
            guard let range = AddressRange(text) else {
                throw .bad(
                    given,
                    allowed: "addresses or ranges between commas, such as 10.0.0.7,10.1.0.0/16")
            }
            ranges.insert(range)
        }
        return TrustedProxies(ranges: ranges)
    }

    static func addressLimits(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> AddressLimits {
        var limits = AddressLimits()
        limits.sockets = try count(.addressSockets, sources) ?? limits.sockets
        limits.socketsPerSecond = try count(.addressRate, sources) ?? limits.socketsPerSecond
        return limits
    }

    static func sharedLimits(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> SharedLimits {
        var limits = SharedLimits()
        limits.userSockets = try count(.userSockets, sources) ?? limits.userSockets
        limits.userMessagesPerSecond =
            try count(.userRate, sources) ?? limits.userMessagesPerSecond
        limits.roomSockets = try count(.roomSockets, sources) ?? limits.roomSockets
        limits.roomMessagesPerSecond =
            try count(.roomRate, sources) ?? limits.roomMessagesPerSecond
        return limits
    }

    static func readingLimits(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> ReadingLimits {
        var limits = ReadingLimits()
        limits.userPagesPerSecond = try count(.userPages, sources) ?? limits.userPagesPerSecond
        limits.addressPagesPerSecond =
            try count(.addressPages, sources) ?? limits.addressPagesPerSecond
        return limits
    }

    private static func count(
        _ setting: Setting, _ sources: SettingSources
    ) throws(ConfigurationError) -> Int? {
        guard let given = sources[setting] else { return nil }
        guard let number = Int(given.text), (1...1_000_000).contains(number) else {
            throw .bad(given, allowed: "a whole number, 1 to 1000000")
        }
        return number
    }

    static func tlsFiles(
        _ sources: SettingSources
    ) throws(ConfigurationError) -> TLSFiles? {
        switch (sources[.tlsCertificate], sources[.tlsKey]) {
        case (nil, nil):
            return nil
        case (let certificate?, let key?):
            return TLSFiles(certificate: certificate.text, key: key.text)
        case (_?, nil):
            throw .missing(.tlsKey, advice: "the file with the private key of the certificate")
        case (nil, _?):
            throw .missing(.tlsCertificate, advice: "the file with the certificate of the key")
        }
    }

    /// Who reaches this port reads who chats with whom and may throw people out: it has no
    /// authentication but the machine it is on.
    static func admin(_ sources: SettingSources) throws(ConfigurationError) -> HostAndPort? {
        guard let given = sources[.adminBind] else { return nil }
        guard let address = HostAndPort(given.text), address.port != nil else {
            throw .bad(given, allowed: "a loopback address with a port, such as 127.0.0.1:9080")
        }
        guard address.isLoopback else { throw .adminToOthers(bind: address) }
        return address
    }
}
