import ArgumentParser

/// Flags about what stands between a server and its clients.
struct NetworkOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Proxies whose word about a client's address (X-Forwarded-For) is believed, with commas \
            between. (CHATD_TRUSTED_PROXIES, "trustedProxies"; default: none)
            """, valueName: "address[/bits],…"))
    var trustedProxies: String?

    @Option(
        help: ArgumentHelp(
            """
            Sockets that one address may have open; 64 bits of IPv6 count as one. \
            (CHATD_ADDRESS_SOCKETS, "addressSockets"; default: 2000)
            """, valueName: "count"))
    var addressSockets: String?

    @Option(
        help: ArgumentHelp(
            """
            Sockets that one address may open in a second. \
            (CHATD_ADDRESS_RATE, "addressRate"; default: 500)
            """, valueName: "count"))
    var addressRate: String?

    @Option(
        name: .customLong("tls-cert"),
        help: ArgumentHelp(
            """
            The certificate and its chain in PEM: TLS is spoken then, and nothing else. Read again \
            when it changes. (CHATD_TLS_CERT, "tlsCertificate"; default: none)
            """, valueName: "file"))
    var tlsCertificate: String?

    @Option(
        name: .customLong("tls-key"),
        help: ArgumentHelp(
            """
            The private key of the certificate in PEM. (CHATD_TLS_KEY, "tlsKey"; default: none)
            """, valueName: "file"))
    var tlsKey: String?

    @Option(
        help: ArgumentHelp(
            """
            Where to show rooms, sockets and queues, and to throw people out; loopback only. \
            (CHATD_ADMIN_BIND, "adminBind"; default: nowhere)
            """, valueName: "host:port"))
    var adminBind: String?

    func add(to flags: inout [Setting: String]) {
        flags[.trustedProxies] = trustedProxies
        flags[.addressSockets] = addressSockets
        flags[.addressRate] = addressRate
        flags[.tlsCertificate] = tlsCertificate
        flags[.tlsKey] = tlsKey
        flags[.adminBind] = adminBind
    }
}
