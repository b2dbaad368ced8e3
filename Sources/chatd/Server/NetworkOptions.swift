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
        help: ArgumentHelp(
            """
            Pages of history that one address may read by HTTP in a second. \
            (CHATD_ADDRESS_PAGES, "addressPages"; default: 500)
            """, valueName: "count"))
    var addressPages: String?

    @Option(
        help: ArgumentHelp(
            """
            Sockets that one user may have open here. \
            (CHATD_USER_SOCKETS, "userSockets"; default: 200)
            """, valueName: "count"))
    var userSockets: String?

    @Option(
        help: ArgumentHelp(
            """
            Messages that one user may send here in a second, over all sockets and by HTTP. \
            (CHATD_USER_RATE, "userRate"; default: 40)
            """, valueName: "count"))
    var userRate: String?

    @Option(
        help: ArgumentHelp(
            """
            Pages of history that one user may read by HTTP in a second. \
            (CHATD_USER_PAGES, "userPages"; default: 20)
            """, valueName: "count"))
    var userPages: String?

    @Option(
        help: ArgumentHelp(
            """
            Sockets that one room may have here. \
            (CHATD_ROOM_SOCKETS, "roomSockets"; default: 20000)
            """, valueName: "count"))
    var roomSockets: String?

    @Option(
        help: ArgumentHelp(
            """
            Messages that may be sent to one room here in a second. \
            (CHATD_ROOM_RATE, "roomRate"; default: 2000)
            """, valueName: "count"))
    var roomRate: String?

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
        flags[.addressPages] = addressPages
        flags[.userSockets] = userSockets
        flags[.userRate] = userRate
        flags[.userPages] = userPages
        flags[.roomSockets] = roomSockets
        flags[.roomRate] = roomRate
        flags[.tlsCertificate] = tlsCertificate
        flags[.tlsKey] = tlsKey
        flags[.adminBind] = adminBind
    }
}
