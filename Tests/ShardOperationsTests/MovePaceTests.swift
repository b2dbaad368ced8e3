import Testing

@testable import ShardOperations

@Suite struct MovePaceTests {
    private func pace() -> MovePace { MovePace(baseline: .milliseconds(4), MoveLimits()) }

    @Test func `a copy goes as fast as it can while commits are quick`() {
        var pace = pace()

        pace.measured(latency: .milliseconds(8), copied: 50_000_000)

        #expect(pace.rate == nil)
    }

    @Test func `slow commits slow the copy below what it did, and never below the floor`() {
        var pace = pace()

        pace.measured(latency: .milliseconds(40), copied: 50_000_000)
        #expect(pace.rate == 35_000_000)
        for _ in 0..<50 { pace.measured(latency: .milliseconds(40), copied: 50_000_000) }

        #expect(pace.rate == MoveLimits().floorBytesPerSecond)
    }

    @Test func `the copy becomes faster again when commits are quick`() throws {
        var pace = pace()
        pace.measured(latency: .milliseconds(40), copied: 10_000_000)
        let slowed = try #require(pace.rate)

        for _ in 0..<10 { pace.measured(latency: .milliseconds(5), copied: 5_000_000) }

        #expect(try #require(pace.rate) > slowed * 2)
    }
}

@Suite struct RowSumTests {
    @Test func `sums of hashes wrap like 64-bit numbers, whatever their sign`() throws {
        #expect(try RowSum(1, "-1").hash == .max)
        #expect(try RowSum(1, "18446744073709551617").hash == 1)
        #expect(try RowSum(1, "-18446744073709551617").hash == .max)
        #expect(throws: OperationError.self) { try RowSum(1, "1e5") }
    }

    @Test func `runs of slots read like a person writes them`() {
        #expect(Move.ranges([1, 2, 3, 7]) == "1–3, 7")
        #expect(Move.ranges([1, 3, 5, 7, 9]) == "1, 3, 5 and 2 runs more")
    }

    @Test func `names and texts are quoted for SQL`() {
        #expect(sqlName("a\"b") == "\"a\"\"b\"")
        #expect(literal("it's") == "'it''s'")
        #expect(literal("a\\b'c") == "E'a\\\\b''c'")
        #expect(literal(["a", "b'"]) == "array['a','b''']::text[]")
    }
}
