import NIOCore
import Testing

@testable import chatd

@Suite struct NetworkAddressTests {
    @Test(arguments: [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7"), ("::1", "::1"), ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
    ])
    func `an address reads as it is written`(text: String, shown: String) throws {
        #expect(NetworkAddress(text)?.description == shown)
        #expect(NetworkAddress(try SocketAddress(ipAddress: text, port: 1))?.description == shown)
    }

    @Test(arguments: ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "host", "::1%lo", "1.2.3.4 ", "[::1]"])
    func `what is no address is refused`(text: String) {
        #expect(NetworkAddress(text) == nil)
    }

    @Test func `loopback is known in all its forms`() {
        for text in ["127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"] {
            #expect(NetworkAddress(text)?.isLoopback == true)
        }
        for text in ["128.0.0.1", "::2", "::", "10.0.0.1"] {
            #expect(NetworkAddress(text)?.isLoopback == false)
        }
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.7", "10.0.0.7", true), ("10.0.0.7", "10.0.0.8", false),
        ("0.0.0.0/0", "203.0.113.1", true), ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true), ("2001:db8::/33", "2001:db8:7fff::1", true),
        ("2001:db8::/33", "2001:db8:8000::1", false), ("fd00::/65", "fd00::7fff:0:0:1", true),
        ("fd00::/65", "fd00::8000:0:0:1", false), ("::1/128", "::1", true),
    ])
    func `a range holds what begins alike`(range: String, address: String, isIn: Bool) throws {
        let range = try #require(AddressRange(range))
        let address = try #require(NetworkAddress(address))

        #expect(range.contains(address) == isIn)
    }

    @Test(arguments: [
        "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "x/8", "::/129", "/8",
    ])
    func `what is no range is refused`(text: String) {
        #expect(AddressRange(text) == nil)
    }

    // MARK: Proxies

    @Test(arguments: [
        (["203.0.113.7"], "203.0.113.7"), ([""], "10.0.0.1"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.9.9.9"], "203.0.113.7"), (["10.0.0.5, 10.9.9.9"], "10.0.0.5"),
        (["203.0.113.7:4711"], "203.0.113.7"), (["[2001:db8::7]:4711"], "2001:db8::7"),
        // What cannot be read hides what is before it.
        (["203.0.113.7, unknown"], "10.0.0.1"), (["203.0.113.7, unknown, 10.0.0.9"], "10.0.0.9"),
    ])
    func `the last address that no trusted proxy has is the client's`(
        forwarded: [String], client: String
    ) throws {
        let proxies = TrustedProxies(ranges: [try #require(AddressRange("10.0.0.0/8"))])
        let peer = try #require(NetworkAddress("10.0.0.1"))

        #expect(proxies.client(peer: peer, forwarded: forwarded).description == client)
    }

    @Test func `whoever is not listed is not believed`() throws {
        let proxies = TrustedProxies(ranges: [try #require(AddressRange("10.0.0.0/8"))])
        let peer = try #require(NetworkAddress("192.0.2.1"))

        #expect(proxies.client(peer: peer, forwarded: ["203.0.113.7"]) == peer)
        #expect(TrustedProxies().client(peer: peer, forwarded: ["203.0.113.7"]) == peer)
    }

    // MARK: Counting

    @Test func `an address has so many sockets and opens so many in a second`() throws {
        let book = AddressBook(limits: AddressLimits(sockets: 3, socketsPerSecond: 2))
        let address = try #require(NetworkAddress("203.0.113.7"))
        let other = try #require(NetworkAddress("203.0.113.8"))
        let now = ContinuousClock.now

        #expect(book.open(address, at: now) == nil)
        #expect(book.open(address, at: now) == nil)
        #expect(book.open(address, at: now) == .milliseconds(500))
        #expect(book.open(other, at: now) == nil)
        #expect(book.open(address, at: now + .milliseconds(500)) == nil)
        #expect(book.open(address, at: now + .seconds(9)) == .seconds(10))
        book.close(address)
        #expect(book.open(address, at: now + .seconds(9)) == nil)
    }

    @Test func `64 bits of IPv6 are one address, and loopback is not counted`() throws {
        let book = AddressBook(limits: AddressLimits(sockets: 1))
        let now = ContinuousClock.now
        let addresses = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::1", "::1"]

        let answers = try addresses.map { book.open(try #require(NetworkAddress($0)), at: now) }

        #expect(answers == [nil, .seconds(10), nil, nil, nil])
    }

    @Test func `an address has so many connections, a proxy any number`() throws {
        let proxies = TrustedProxies(ranges: [try #require(AddressRange("10.0.0.0/8"))])
        let book = AddressBook(proxies: proxies, limits: AddressLimits(sockets: 1))
        let now = ContinuousClock.now
        let address = try #require(NetworkAddress("203.0.113.7"))
        let proxy = try #require(NetworkAddress("10.0.0.1"))

        #expect([1, 2, 3].map { _ in book.connect(address, at: now) } == [true, true, false])
        #expect([1, 2, 3].map { _ in book.connect(proxy, at: now) } == [true, true, true])
        book.disconnect(address)
        #expect(book.connect(address, at: now))
        #expect(book.open(address, at: now) == nil, "a socket is counted beside its connection")
        for _ in 1...3 { book.disconnect(proxy) }
    }

    @Test func `addresses without sockets are forgotten`() throws {
        let book = AddressBook(
            limits: AddressLimits(sockets: 1, socketsPerSecond: 1, remembered: 10))
        let now = ContinuousClock.now
        let first = try #require(NetworkAddress("203.0.113.1"))
        #expect(book.open(first, at: now) == nil)

        for number in 0..<100 {
            let address = try #require(NetworkAddress("198.51.100.\(number)"))
            #expect(book.open(address, at: now + .seconds(number)) == nil)
            book.close(address)
        }

        #expect(book.count <= 21)
        #expect(book.open(first, at: now + .seconds(103)) == .seconds(10), "who has one is kept")
    }
}
