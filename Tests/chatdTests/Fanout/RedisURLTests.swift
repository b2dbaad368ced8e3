import Testing

@testable import chatd

@Suite struct RedisURLTests {
    @Test func `a host is enough`() throws {
        let url = try RedisURL("redis://cache.example")

        #expect(url.host == "cache.example")
        #expect(url.port == 6_379)
        #expect(url.database == 0)
        #expect(url.credentials == nil)
    }

    @Test func `all parts are read`() throws {
        let url = try RedisURL("REDIS://ada:secret@cache.example:63790/7")

        #expect(url.host == "cache.example")
        #expect(url.port == 63_790)
        #expect(url.database == 7)
        #expect(url.credentials == .init(user: "ada", password: "secret"))
    }

    @Test func `two letters s mean TLS`() throws {
        #expect(try RedisURL("rediss://h:7").isSecure)
        #expect(try !RedisURL("redis://h:7").isSecure)
        #expect("\(try RedisURL("rediss://ada:secret@h:7"))" == "rediss://h:7/0")
    }

    @Test(arguments: [
        ("redis://:a%40b%2Fc@h", "a@b/c"), ("redis://:a@b/c:d@h/1", "a@b/c:d"),
        ("redis://:%C3%A9@h", "\u{e9}"),
    ])
    func `a password may hold anything`(text: String, password: String) throws {
        let url = try RedisURL(text)

        #expect(url.credentials == .init(user: nil, password: password))
        #expect(url.host == "h")
    }

    @Test func `an IPv6 address stands in brackets`() throws {
        #expect(try RedisURL("redis://[::1]:7/2").host == "::1")
        #expect(try RedisURL("redis://[::1]").port == 6_379)
        #expect("\(try RedisURL("redis://[::1]:7/2"))" == "redis://[::1]:7/2")
    }

    @Test(arguments: [
        ("", RedisURLError.noScheme), ("localhost:6379", .noScheme), ("http://h", .noScheme),
        ("redis://", .badHost), ("redis://:7", .badHost),
        ("redis://a b", .badHost), ("redis://[::1", .badHost), ("redis://[::1]x", .badHost),
        ("redis://h:", .badPort), ("redis://h:0", .badPort), ("redis://h:65536", .badPort),
        ("redis://h:+1", .badPort), ("redis://h:99999999999999999999", .badPort),
        ("redis://h/x", .badDatabase), ("redis://h/-1", .badDatabase),
        ("redis://h/1/2", .badDatabase), ("redis://ada@h", .noPassword),
        ("redis://ada:@h", .noPassword), ("redis://:%4@h", .badEscape),
        ("redis://:%zz@h", .badEscape), ("redis://:%+1@h", .badEscape),
        ("redis://:%ff@h", .badEscape), ("redis://h?db=1", .hasQuery), ("redis://h#1", .hasQuery),
    ])
    func `what does not fit is named`(text: String, error: RedisURLError) {
        #expect(throws: error) { try RedisURL(text) }
    }

    @Test func `the password is not shown, whoever prints it`() throws {
        let url = try RedisURL("redis://ada:s3cret@h:1/2")
        var dumped = ""
        dump(url, to: &dumped)
        dump(url.credentials, to: &dumped)

        let texts = [
            "\(url)", String(reflecting: url), "\(url.credentials as Any)", dumped,
            String(reflecting: url.credentials),
        ]

        #expect("\(url)" == "redis://h:1/2")
        for text in texts { #expect(!text.contains("s3cret")) }
    }
}
