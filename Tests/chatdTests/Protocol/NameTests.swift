import Foundation
import ShardRouter
import Testing

@testable import chatd

@Suite struct NameTests {
    @Test(arguments: ["a", "7", "lobby", "A-z.0_9~:x", String(repeating: "x", count: 128)])
    func `names of rooms are taken as they are`(name: String) throws {
        #expect(try RoomName.parse(name) == RoomID(name))
    }

    @Test(arguments: [
        "", ".a", "-a", "_a", "~a", ":a", "a b", "a/b", "a%20", "é", "a\u{0}", "a\n", "😀",
        String(repeating: "x", count: 129),
    ])
    func `other names are no rooms`(name: String) {
        let error = #expect(throws: FrameError.self) { try RoomName.parse(name) }

        #expect(error?.code == .badRoom)
        #expect(error?.field == "room")
    }

    @Test(arguments: [
        "ada", "Ada Lovelace", "é", "李", "👩‍👩‍👧‍👦", " a ", String(repeating: "😀", count: 64),
    ])
    func `names of people are taken as they are`(name: String) throws {
        #expect(try UserName.parse(name) == name)
    }

    @Test(arguments: [
        ("Jose\u{301}", "Jos\u{E9}"), ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"),
        ("a\u{301}\u{323}", "\u{1EA1}\u{301}"), ("\u{2126}", "\u{3A9}"),
        ("\u{958}", "\u{915}\u{93C}"),
        // No letter turns into another's.
        ("\u{10041}\u{323}", "\u{10041}\u{323}"),
    ])
    func `a name has one form, byte for byte`(written: String, name: String) throws {
        #expect(Array(try UserName.parse(written).utf8) == Array(name.utf8))
    }

    /// Servers compare names as strings, shards as bytes.
    @Test func `names that are equal have the same bytes`() throws {
        let scalars = (UInt32(0xA0)...0x1_FFFF).compactMap(Unicode.Scalar.init).filter {
            $0.properties.canonicalCombiningClass != .notReordered
                || (0xA0...0x33FF).contains($0.value)
        }
        var equalPairs = 0
        for scalar in scalars {
            for (one, other) in [
                ("a\(scalar)\u{301}", "a\u{301}\(scalar)"),
                ("a\(scalar)\u{323}", "a\u{323}\(scalar)"),
                ("\(scalar)", "\(scalar)".decomposedStringWithCanonicalMapping),
            ] where one == other {
                guard let name = try? UserName.parse(one) else { continue }
                equalPairs += 1
                #expect(name == one)
                #expect(
                    Array(try UserName.parse(other).utf8) == Array(name.utf8),
                    "U+\(String(scalar.value, radix: 16))")
                #expect(Array(try UserName.parse(name).utf8) == Array(name.utf8))
            }
        }
        #expect(equalPairs > 10_000)
    }

    @Test func `the length of a name is that of its one form`() throws {
        let name = String(repeating: "\u{D55C}", count: 64)

        let decomposed = name.decomposedStringWithCanonicalMapping
        #expect(decomposed.utf8.count > 2 * UserName.bytesAtMost)
        #expect(try UserName.parse(decomposed) == name)
        // Four bytes each that are twelve in NFC.
        #expect(throws: FrameError.self) {
            try UserName.parse(String(repeating: "\u{1D160}", count: 30))
        }
    }

    @Test(arguments: [
        "", " ", "\u{3000}\u{2003}", "\u{200B}", "a\n", "a\u{0}", "\u{1b}[31m", "a\u{2028}b",
        "a\u{202E}b", "a\u{2066}b", "a\u{85}", String(repeating: "x", count: 65),
        "a" + String(repeating: "\u{301}", count: 200),
    ])
    func `other names are nobody`(name: String) {
        let error = #expect(throws: FrameError.self) { try UserName.parse(name) }

        #expect(error?.field == "user")
    }

    @Test func `ids are written in lower case and read in either`() {
        let text = "2b190304-9788-4dfb-be16-723cdcf6bb51"

        let id = MessageID.parse(text.uppercased().utf8)

        #expect(id == UUID(uuidString: text))
        #expect(id.map(MessageID.text) == text)
    }

    @Test func `only drawn ids count as drawn`() {
        #expect(MessageID.isRandom(UUID()))
        #expect(!MessageID.isRandom(UUID(upper: 0, lower: 0)))
        #expect(!MessageID.isRandom(UUID(upper: 0x4000, lower: 0x4000_0000_0000_0000)))
    }
}
