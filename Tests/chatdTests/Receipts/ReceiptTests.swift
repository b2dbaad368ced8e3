import FoundationEssentials
import Logging
import Postgres
import ShardRouter
import Testing

@testable import chatd

/// `000102…1f`, the key of the test vector in docs/protocol.md, and two others.
let vectorKey = (0..<32).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
let otherKey = String(repeating: "ab", count: 32)

@Suite struct ReceiptTests {
    private let message = Message(
        id: UUID(upper: 0x2b19_0304_9788_4dfb, lower: 0xbe16_723c_dcf6_bb51), room: .lobby,
        author: "ada", sentAt: Timestamp(rfc3339: "2026-11-23T10:15:02.113Z")!,
        receivedAt: Timestamp(rfc3339: "2026-11-23T10:15:02.131Z")!, text: "hé😀")

    private func ring(_ keys: String...) -> ReceiptKeyring {
        ReceiptKeyring(keys.map { ReceiptKey(hexadecimal: $0)! })
    }

    @Test func `a receipt is the published one`() {
        let receipt = ring(vectorKey).receipt(for: message)

        #expect(receipt == "tSP5cWzjw4toXIJ_VSnJrSxmp5nRZTYMB1xEhq_ZdRE")
    }

    @Test func `a receipt is good for exactly its message`() throws {
        let ring = ring(vectorKey)
        let receipt = try #require(ring.receipt(for: message))

        #expect(ring.isGenuine(receipt, for: message))
        let others: [(inout Message) -> Void] = [
            { $0.id = .numbered(1) }, { $0.room = RoomID("Lobby") }, { $0.author = "Ada" },
            { $0.text = "hé" }, { $0.sentAt = $0.sentAt.advanced(by: .milliseconds(1)) },
            // What moves from one field into the next is another message.
            {
                $0.author = "ad"
                $0.text = "ahé😀"
            },
        ]
        for change in others {
            var other = message
            change(&other)
            #expect(!ring.isGenuine(receipt, for: other))
        }
        var same = message
        same.receivedAt = same.receivedAt.advanced(by: .seconds(9))
        same.sentAt = same.sentAt.advanced(by: .microseconds(999))
        #expect(ring.isGenuine(receipt, for: same), "frames show neither")
    }

    @Test(arguments: [
        "", "tSP5", "tSP5cWzjw4toXIJ_VSnJrSxmp5nRZTYMB1xEhq_ZdRF",
        "tSP5cWzjw4toXIJ_VSnJrSxmp5nRZTYMB1xEhq_ZdRE=",
        "tSP5cWzjw4toXIJ/VSnJrSxmp5nRZTYMB1xEhq/ZdRE",
        "éSP5cWzjw4toXIJ_VSnJrSxmp5nRZTYMB1xEhq_ZdR",
    ])
    func `other texts are no receipts`(text: String) {
        #expect(!ring(vectorKey).isGenuine(text, for: message))
    }

    @Test func `keys are exchanged without losing a receipt`() throws {
        let ring = ring(vectorKey)
        let old = try #require(ring.receipt(for: message))

        #expect(ring.replace(self.keys(otherKey, vectorKey)))
        let new = try #require(ring.receipt(for: message))
        #expect(new != old)
        #expect(ring.isGenuine(old, for: message))
        #expect(ring.isGenuine(new, for: message))

        #expect(!ring.replace(self.keys(otherKey, vectorKey)), "the same keys")
        ring.replace(self.keys(otherKey))
        #expect(!ring.isGenuine(old, for: message))
        #expect(ring.isGenuine(new, for: message))
    }

    private func keys(_ keys: String...) -> [ReceiptKey] {
        keys.map { ReceiptKey(hexadecimal: $0)! }
    }

    @Test func `without a key there are no receipts`() {
        let ring = ReceiptKeyring()

        #expect(!ring.isReady)
        #expect(ring.receipt(for: message) == nil)
        #expect(
            !ring.isGenuine("tSP5cWzjw4toXIJ_VSnJrSxmp5nRZTYMB1xEhq_ZdRE", for: message))
    }

    // MARK: Sources

    @Test func `a file has a key a line`() throws {
        let text = "# since May\n\(vectorKey)\r\n\n  \(otherKey.uppercased())\n"

        let keys = try ReceiptKeySource.parse(text, path: "keys")

        #expect(keys == self.keys(vectorKey, otherKey))
    }

    @Test(arguments: [
        "", "# nothing\n", "abc", vectorKey + "0", String(repeating: "g", count: 64),
        [vectorKey, otherKey, vectorKey].joined(separator: "\n"),
    ])
    func `other files are refused without showing a key`(text: String) throws {
        let trouble = try #require(throws: ReceiptKeySource.Trouble.self) {
            _ = try ReceiptKeySource.parse(text, path: "keys")
        }

        #expect(trouble.description.contains("keys"))
        #expect(!trouble.description.contains(vectorKey))
    }

    @Test func `drawn keys differ`() throws {
        let drawn = (0..<8).map { _ in ReceiptKey.drawn() }

        #expect(Set(drawn).count == 8)
        #expect(drawn.allSatisfy { ReceiptKey(hexadecimal: $0) != nil })
    }
}
