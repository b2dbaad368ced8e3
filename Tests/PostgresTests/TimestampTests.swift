import Postgres
import TestKit
import Testing

@Suite struct TimestampTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00.000Z", 0), ("2026-11-23T10:15:02.113Z", 1_795_428_902_113_000),
        ("1969-12-31T23:59:59.999Z", -1_000), ("2024-02-29T12:00:00.000Z", 1_709_208_000_000_000),
    ])
    func `RFC 3339 is written and read`(text: String, microseconds: Int64) {
        let time = Timestamp(microsecondsSince1970: microseconds)

        #expect(time.rfc3339 == text)
        #expect(Timestamp(rfc3339: text) == time)
    }

    @Test func `an offset and finer digits are understood`() {
        let time = Timestamp(rfc3339: "2026-11-23T12:15:02.113456789+02:00")

        #expect(time?.microsecondsSince1970 == 1_795_428_902_113_456)
    }

    @Test(arguments: [
        "", "2026-11-23", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01 00:00:00Z", "x",
        "2026-01-01T00:00:00Zx",
    ])
    func `what is no time is refused`(text: String) {
        #expect(Timestamp(rfc3339: text) == nil)
    }

    @Test func `random times survive the round trip`() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<10_000 {
            let milliseconds = Int64.random(
                in: -60_000_000_000_000...250_000_000_000_000, using: &generator)
            let time = Timestamp(microsecondsSince1970: milliseconds * 1_000)
            #expect(Timestamp(rfc3339: time.rfc3339) == time, "\(time.rfc3339)")
        }
    }
}
