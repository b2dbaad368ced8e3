/// Whose word about a client's address is believed: that of the proxies which are listed.
struct TrustedProxies: Equatable, Sendable {
    var ranges: Set<AddressRange> = []

    func contains(_ address: NetworkAddress) -> Bool {
        ranges.contains { $0.contains(address) }
    }

    /// The address of the client behind a connection.
    ///
    /// Each proxy appends the address that it was called from, and clients may write anything before
    /// it. So the list is read from its end, for as long as the one who speaks is trusted.
    ///
    /// - Parameters:
    ///   - peer: who has made the connection.
    ///   - forwarded: the values of `X-Forwarded-For`, in order.
    func client(peer: NetworkAddress, forwarded: [String]) -> NetworkAddress {
        guard !ranges.isEmpty, contains(peer) else { return peer }
        var client = peer
        let entries = forwarded.flatMap { $0.split(separator: ",") }
        for entry in entries.reversed() {
            guard let address = Self.address(entry) else { return client }
            client = address
            if !contains(address) { return client }
        }
        return client
    }

    /// Some proxies append the port: `192.0.2.7:4711`, `[2001:db8::7]:4711`.
    private static func address(_ entry: Substring) -> NetworkAddress? {
        let text = entry.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
        return NetworkAddress(text) ?? HostAndPort(text).flatMap { NetworkAddress($0.host) }
    }
}
