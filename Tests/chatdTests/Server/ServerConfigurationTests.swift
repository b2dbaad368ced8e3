import FoundationEssentials
import Logging
import Testing

@testable import chatd

@Suite struct ServerConfigurationTests {
    private static let catalog = ["SHARD_CATALOG": "host=127.0.0.1 dbname=catalog"]

    private func read(
        flags: [Setting: String] = [:], environment: [String: String] = catalog, file: String? = nil
    ) throws(ConfigurationError) -> ServerConfiguration {
        try ServerConfiguration(
            SettingSources(
                flags: flags, environment: environment,
                file: try file.map { text throws(ConfigurationError) in
                    try ConfigurationFile(path: "chatd.json", content: Data(text.utf8))
                }), hostName: "box", processID: 7)
    }

    private func failure(
        flags: [Setting: String] = [:], environment: [String: String] = [:], file: String? = nil
    ) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try read(
                flags: flags, environment: Self.catalog.merging(environment) { $1 }, file: file)
            return nil
        } catch {
            return error
        }
    }

    // MARK: What decides

    @Test func `nothing but the catalog is needed`() throws {
        let configuration = try read()

        #expect(configuration.bind == HostAndPort(host: "127.0.0.1", port: 8080))
        #expect(configuration.redis == nil)
        #expect(configuration.origins == OriginRule(isForLoopbackHosts: true))
        #expect(configuration.serverName == "box:8080")
        #expect(configuration.logLevel == .info)
    }

    @Test func `a flag goes over a variable, a variable over the file`() throws {
        let file = #"{"bind": "127.0.0.3:3", "serverName": "file", "logLevel": "debug"}"#
        let environment = Self.catalog.merging(
            ["CHATD_BIND": "127.0.0.2:2", "CHATD_SERVER_NAME": "variable"]) { $1 }

        let configuration = try read(
            flags: [.bind: "127.0.0.1:1"], environment: environment, file: file)

        #expect(configuration.bind == HostAndPort(host: "127.0.0.1", port: 1))
        #expect(configuration.serverName == "variable")
        #expect(configuration.logLevel == .debug)
    }

    @Test func `an empty variable counts as not set`() throws {
        let environment = Self.catalog.merging(["CHATD_REDIS_URL": "", "CHATD_ADMIN_BIND": ""]) {
            $1
        }

        #expect(try read(environment: environment).redis == nil)
    }

    @Test func `the file says lists and truths as JSON does`() throws {
        let file = """
            {"allowedOrigins": ["https://a.example", "http://b.example:81"], "allowOpen": true,
             "bind": "0.0.0.0:80"}
            """

        let configuration = try read(file: file)

        #expect(configuration.origins.allowed.count == 2)
        #expect(configuration.bind.host == "0.0.0.0")
    }

    @Test(
        arguments: [
            ([:], true), ([.allowOpen: "1"], false), ([.trustedProxies: "127.0.0.1"], false),
            ([.auth: "jwt", .jwtKeys: "/keys"], false),
        ] as [([Setting: String], Bool)])
    func `only who believes everybody of this machine asks pages for a loopback host`(
        flags: [Setting: String], isAsked: Bool
    ) throws {
        #expect(try read(flags: flags).origins.isForLoopbackHosts == isAsked)
    }

    @Test func `what stands between a server and its clients is plain unless named`() throws {
        let plain = try read()
        let file = """
            {"drainTime": 2.5, "trustedProxies": ["10.0.0.1", "fd00::/8"], "addressSockets": 7,
             "addressRate": "3", "tlsCertificate": "c", "tlsKey": "k", "adminBind": "[::1]:9"}
            """

        let given = try read(file: file)

        #expect(plain.drainTime == .seconds(10))
        #expect(plain.proxies == TrustedProxies() && plain.addresses == AddressLimits())
        #expect(plain.tls == nil && plain.admin == nil)
        #expect(given.drainTime == .milliseconds(2_500))
        #expect(given.proxies.ranges.count == 2)
        #expect((given.addresses.sockets, given.addresses.socketsPerSecond) == (7, 3))
        #expect(given.tls == TLSFiles(certificate: "c", key: "k"))
        #expect(given.admin == HostAndPort(host: "::1", port: 9))
    }

    @Test(arguments: [Setting.tlsCertificate, .tlsKey])
    func `a certificate without its key, or the other way round, is refused`(given: Setting) {
        let missing = given == .tlsKey ? Setting.tlsCertificate : .tlsKey
        let error = failure(flags: [given: "/file"])

        #expect(error?.description.contains(missing.variable) == true)
        #expect(error?.exitCode == 64)
    }

    @Test(arguments: ["0.0.0.0:80", "[::]:80", "chat.example:80", "10.0.0.1:9080"])
    func `the admin listener stays on this machine, forced or not`(bind: String) {
        #expect(failure(flags: [.adminBind: bind, .allowOpen: "1"])?.exitCode == 2)
    }

    @Test(arguments: [
        ("[::1]:9", HostAndPort(host: "::1", port: 9)),
        ("127.0.0.1", HostAndPort(host: "127.0.0.1", port: 8080)),
        ("localhost:0", HostAndPort(host: "localhost", port: 0)),
    ])
    func `addresses to listen on`(text: String, address: HostAndPort) throws {
        #expect(try read(flags: [.bind: text]).bind == address)
    }

    @Test func `servers on free ports have names of their own`() throws {
        #expect(try read(flags: [.bind: "127.0.0.1:0"]).serverName == "box:p7")
    }

    @Test func `each catalog has its own file of the last topology`() throws {
        let home = ["HOME": "/home/ada"]
        let first = try read(environment: Self.catalog.merging(home) { $1 })
        let second = try read(
            flags: [.catalog: "host=other dbname=catalog"], environment: home)
        let state = try read(
            environment: Self.catalog.merging(["XDG_STATE_HOME": "/state"]) { $1 })

        #expect(first.topologyFile?.hasPrefix("/home/ada/.local/state/chatd/topology-") == true)
        #expect(first.topologyFile != second.topologyFile)
        #expect(state.topologyFile?.hasPrefix("/state/chatd/topology-") == true)
        #expect(try read().topologyFile == nil)
    }

    @Test func `each address has its own spool, a free port has none unless it is told where`()
        throws
    {
        func spool(_ bind: String, _ dir: String? = nil) throws -> SpoolPlace? {
            var flags: [Setting: String] = [.bind: bind]
            flags[.spoolDir] = dir
            return try read(
                flags: flags, environment: Self.catalog.merging(["HOME": "/home/ada"]) { $1 }
            ).spool
        }

        let state = "/home/ada/.local/state/chatd"
        #expect(
            try spool("127.0.0.1:81")
                == SpoolPlace(folder: "\(state)/spool-127.0.0.1-81", isGiven: false))
        #expect(
            try spool("[::1]:81") == SpoolPlace(folder: "\(state)/spool----1--81", isGiven: false))
        #expect(try spool("127.0.0.1:0") == nil)
        #expect(
            try spool("127.0.0.1:0", "/spool") == SpoolPlace(folder: "/spool", isGiven: true))
        #expect(throws: ConfigurationError.self) { try spool("127.0.0.1:81", "") }
    }

    // MARK: What is refused

    @Test func `a start without a catalog says how to name one`() {
        #expect(throws: ConfigurationError.self) { try read(environment: [:]) }
        do throws(ConfigurationError) {
            _ = try read(environment: [:])
        } catch {
            #expect(error.description.contains("SHARD_CATALOG"))
            #expect(error.exitCode == 64)
        }
    }

    @Test(arguments: [
        (Setting.bind, "127.0.0.1:99999"), (.bind, "::1:8080"), (.bind, ":8080"),
        (.allowedOrigins, "a.example"), (.allowedOrigins, "https://a.example/path"),
        (.serverName, "two words"), (.logLevel, "loud"), (.allowOpen, "perhaps"), (.auth, "ldap"),
        (.drainTime, "soon"), (.drainTime, "-1"), (.drainTime, "601"), (.drainTime, "nan"),
        (.trustedProxies, "proxy.example"), (.trustedProxies, "10.0.0.1/8"),
        (.addressSockets, "0"), (.addressRate, "many"), (.adminBind, "127.0.0.1"),
    ])
    func `a bad value names itself and its place`(setting: Setting, text: String) {
        let error = failure(environment: [setting.variable: text])

        #expect(error?.description.contains(setting.variable) == true)
        #expect(error?.description.contains("'\(text)'") == true)
        #expect(error?.exitCode == 64)
    }

    @Test(arguments: [
        (Setting.jwtKeys, "hs256:secret"), (.redisURL, "redis://:secret@host:port"),
        (.catalog, "password=secret host"),
    ])
    func `what may hold a password is not repeated`(setting: Setting, text: String) {
        let error = failure(flags: [setting: text, .auth: setting == .jwtKeys ? "jwt" : "open"])

        #expect(error?.description.contains(setting.flag) == true)
        #expect(error?.description.contains("secret") == false)
    }

    @Test func `an unknown key is refused by its name`() {
        let error = failure(file: #"{"bnid": "127.0.0.1:1"}"#)

        #expect(error == .unknownKey("bnid", path: "chatd.json"))
        #expect(error?.description.contains("bind") == true)
    }

    @Test(arguments: [
        (#"{"bind": 8080}"#, "a text"), (#"{"allowOpen": "yes"}"#, "true or false"),
        (#"{"allowedOrigins": "https://a.example"}"#, "a list"),
        (#"{"bind": {"port": 1}}"#, "a text"),
    ])
    func `a value of the wrong kind is refused`(file: String, wish: String) {
        #expect(failure(file: file)?.description.contains(wish) == true)
    }

    @Test(arguments: ["", "[]", "{", "\"bind\"", "{\"bind\": }"])
    func `a file that is no JSON object is refused`(file: String) {
        #expect(failure(file: file)?.description.contains("chatd.json") == true)
    }

    @Test func `a file that is not there is named`() {
        #expect(
            throws: ConfigurationError.unreadableFile(
                path: "/nowhere/chatd.json", reason: "there is no such file")
        ) { try ConfigurationFile.read("/nowhere/chatd.json") }
    }

    @Test func `tokens need keys, and then any address may be served`() throws {
        let flags: [Setting: String] = [
            .auth: "jwt", .jwtKeys: "/keys", .jwtAudience: "chat", .bind: "0.0.0.0:80",
        ]

        guard case .tokens(let settings) = try read(flags: flags).authentication else {
            Issue.record("tokens were asked for")
            return
        }
        #expect(settings.keys == "/keys")
        #expect(settings.audience == "chat")
        #expect(settings.issuer == nil)
        #expect(failure(flags: [.auth: "jwt"])?.description.contains("CHATD_JWT_KEYS") == true)
        #expect(try read().authentication == .open)
    }

    @Test(arguments: [Setting.jwtKeys, .jwtAudience, .jwtIssuer])
    func `settings of tokens are not passed over where none are checked`(setting: Setting) {
        let error = failure(environment: [setting.variable: "x"])

        #expect(error?.description.contains(setting.variable) == true)
        #expect(error?.exitCode == 2)
    }

    @Test(arguments: [
        "0.0.0.0:80", "[::]:80", "chat.example:80", "192.168.0.1:80", "127.evil.example:80",
    ])
    func `open authentication stays on this machine unless forced`(bind: String) throws {
        #expect(failure(flags: [.bind: bind])?.exitCode == 2)
        _ = try read(flags: [.bind: bind, .allowOpen: "1"])
    }
}
