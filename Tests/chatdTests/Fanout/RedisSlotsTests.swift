import Testing

@testable import chatd

@Suite struct RedisSlotsTests {
    private static let asked = RedisAddress(host: "seed", port: 1)

    private static func range(
        _ first: Int64, _ last: Int64, _ host: RedisReply, _ port: Int64
    ) -> RedisReply {
        .array([
            .integer(first), .integer(last),
            .array([host, .integer(port), .bulk([UInt8](text: "id"))]),
        ])
    }

    // As `CLUSTER KEYSLOT` of Redis 7.0 answers.
    @Test(arguments: [
        ("123456789", 12_739), ("foo", 12_182), ("{user1000}.following", 3_443),
        ("{user1000}.followers", 3_443), ("foo{}{bar}", 8_363), ("foo{{bar}}zap", 4_015),
        ("", 0),
    ])
    func `a name has the slot that Redis gives it`(name: String, slot: Int) {
        #expect(RedisSlots.slot(of: [UInt8](text: name)) == slot)
    }

    @Test func `a channel lives where its slot is`() throws {
        let slots = try #require(
            RedisSlots(
                .array([
                    Self.range(8_000, 16_383, .bulk([UInt8](text: "b")), 2),
                    Self.range(0, 7_999, .bulk([UInt8](text: "a")), 1),
                ]), from: Self.asked))

        #expect(slots.isWhole)
        #expect(slots.nodes.map(\.description) == ["a:1", "b:2"])
        #expect(slots.owner(ofChannel: [UInt8](text: "foo"))?.host == "b")
        #expect(slots.owner(ofChannel: [UInt8](text: "{user1000}"))?.host == "a")
    }

    @Test func `slots without a node are known, and nodes without an address`() throws {
        let slots = try #require(
            RedisSlots(
                .array([
                    Self.range(0, 99, .bulk([]), 7), Self.range(100, 199, .null, 7),
                    Self.range(200, 299, .bulk([UInt8](text: "?")), 7),
                ]), from: Self.asked))

        #expect(!slots.isWhole)
        #expect(slots.nodes == [RedisAddress(host: "seed", port: 7)])
        #expect(slots.owner(ofChannel: [UInt8](text: "foo")) == nil)
    }

    @Test func `the order of an answer does not matter`() {
        let parts = [
            Self.range(0, 99, .bulk([UInt8](text: "a")), 1),
            Self.range(100, 199, .bulk([UInt8](text: "b")), 1),
        ]

        #expect(
            RedisSlots(.array(parts), from: Self.asked)
                == RedisSlots(.array(parts.reversed()), from: Self.asked))
    }

    @Test(
        arguments: [
            .null, .status("OK"), .array([.null]), .array([Self.range(1, 0, .null, 1)]),
            .array([Self.range(0, 16_384, .null, 1)]), .array([Self.range(-1, 2, .null, 1)]),
            .array([Self.range(0, 1, .null, 0)]), .array([Self.range(0, 1, .null, 65_536)]),
            .array([.array([.integer(0), .integer(1), .array([.null])])]),
        ] as [RedisReply])
    func `what is no answer to CLUSTER SLOTS is refused`(reply: RedisReply) {
        #expect(RedisSlots(reply, from: Self.asked) == nil)
    }
}
