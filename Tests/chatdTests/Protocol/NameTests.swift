import FoundationEssentials
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
