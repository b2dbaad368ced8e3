import HTTPTypes
import Postgres
import Testing

@testable import chatd

@Suite struct RequestRuleTests {
    // MARK: Targets

    @Test func `paths and queries are decoded`() throws {
        let target = try #require(RequestTarget("/v1/rooms/a%7Eb/socket?user=ada+l%2Bx&x&y=1=2#z"))

        #expect(target.segments == ["v1", "rooms", "a~b", "socket"])
        #expect(target["user"] == "ada l+x")
        #expect(target["x"] == "")
        #expect(target["y"] == "1=2")
        #expect(target["z"] == nil)
    }

    @Test func `a whole address is understood`() {
        #expect(RequestTarget("http://host:1/healthz?x=1")?.segments == ["healthz"])
        #expect(RequestTarget("http://host")?.segments == [])
    }

    @Test(arguments: ["", "*", "healthz", "/%", "/%4", "/%zz", "/%FF", "/?user=%C3"])
    func `what is no path is refused`(text: String) {
        #expect(RequestTarget(text) == nil)
    }

    @Test(arguments: [
        ("/", Route.file("index.html")), ("/app.js", .file("app.js")), ("/healthz", .health),
        ("/readyz", .readiness), ("/metrics", .metrics), ("/metrics/", .unknown),
        ("/v1/rooms/lobby/socket", .socket(room: "lobby")),
        ("/v1/rooms//socket", .socket(room: "")),
        ("/v1/rooms/a%2Fb/messages", .messages(room: "a/b")),
        ("/v1/socket", .roomsSocket), ("/v1/rooms/lobby", .unknown),
        ("/v2/rooms/lobby/socket", .unknown),
        ("/healthz/", .unknown), ("/v1/rooms/lobby/socket/", .unknown),
    ])
    func `paths lead where they should`(path: String, route: Route) throws {
        #expect(Route(try #require(RequestTarget(path)).segments) == route)
    }

    // MARK: Origins

    @Test(arguments: [
        ("http://chat.example", "chat.example"), ("https://chat.example", "chat.example"),
        ("https://Chat.Example", "chat.example"), ("http://chat.example:8080", "chat.example:8080"),
        ("https://chat.example", "chat.example:443"), ("http://[::1]:80", "[::1]"),
    ])
    func `a server's own pages may come in`(origin: String, host: String) {
        #expect(OriginRule().allows(origins: [origin], hosts: [host]))
    }

    @Test(arguments: [
        ("http://evil.example", "chat.example"), ("http://chat.example:81", "chat.example"),
        ("http://chat.example", "chat.example:8080"), ("null", "chat.example"),
        ("http://chat.example.evil", "chat.example"), ("file://chat.example", "chat.example"),
        ("http://chat.example/x", "chat.example"), ("http://a@chat.example", "chat.example"),
        ("", "chat.example"),
    ])
    func `other pages may not`(origin: String, host: String) {
        #expect(!OriginRule().allows(origins: [origin], hosts: [host]))
    }

    @Test func `listed pages and programs without a page may come in`() throws {
        let listed = try #require(OriginRule.Origin("https://other.example"))
        let rule = OriginRule(allowed: [listed])

        #expect(rule.allows(origins: ["https://other.example:443"], hosts: ["chat.example"]))
        #expect(!rule.allows(origins: ["http://other.example"], hosts: ["chat.example"]))
        #expect(rule.allows(origins: [], hosts: []))
        #expect(
            !rule.allows(origins: ["https://other.example", "https://other.example"], hosts: []))
    }

    @Test(arguments: [
        ("localhost", true), ("127.0.0.1:8080", true), ("127.9.8.7", true), ("[::1]:80", true),
        ("evil.example", false), ("127.0.0.1.evil.example", false), ("localhost.evil", false),
        ("10.0.0.1", false), ("[::2]", false), ("0.0.0.0", false), ("128.0.0.1", false),
    ])
    func `where all of this machine are believed, own pages have a loopback host`(
        host: String, isAllowed: Bool
    ) throws {
        let listed = try #require(OriginRule.Origin("https://other.example"))
        let rule = OriginRule(allowed: [listed], isForLoopbackHosts: true)

        #expect(rule.allows(origins: ["http://\(host)"], hosts: [host]) == isAllowed)
        #expect(rule.allowsReading(hosts: [host]) == isAllowed)
        #expect(rule.allows(origins: ["https://other.example"], hosts: [host]))
        #expect(rule.allows(origins: [], hosts: [host]))
        #expect(OriginRule().allows(origins: ["http://\(host)"], hosts: [host]))
        #expect(OriginRule().allowsReading(hosts: [host]))
    }

    @Test func `programs that name no host read everywhere`() {
        #expect(OriginRule(isForLoopbackHosts: true).allowsReading(hosts: []))
    }

    // MARK: Small things

    @Test func `dates are written as HTTP wants them`() throws {
        let time = try #require(Timestamp(rfc3339: "2026-11-23T10:15:02.113Z"))

        #expect(HTTPDate.text(of: time) == "Mon, 23 Nov 2026 10:15:02 GMT")
        #expect(
            HTTPDate.text(of: Timestamp(microsecondsSince1970: 0))
                == "Thu, 01 Jan 1970 00:00:00 GMT")
    }

    @Test func `the proof of the handshake is that of RFC 6455`() {
        #expect(
            WebSocketUpgrader.accepting(key: "dGhlIHNhbXBsZSBub25jZQ==")
                == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }
}
