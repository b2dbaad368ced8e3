import FoundationEssentials
import Testing

@testable import ChatClient

@Suite struct TimelineTests {
    @Test func `what arrives before the first page is kept`() {
        var timeline = Timeline(limits: ClientLimits())

        let early = timeline.add(.numbered(3)) + timeline.add(.numbered(4))
        timeline.reset([.numbered(1), .numbered(2)], isWhole: true)

        #expect(early.isEmpty)
        #expect(timeline.messages.map(\.seq) == [1, 2, 3, 4])
        #expect(timeline.upTo == 4)
        #expect(!timeline.hasGap)
    }

    @Test func `messages beyond a hole wait until it is filled`() {
        var timeline = Timeline(limits: ClientLimits())
        timeline.reset([.numbered(1)], isWhole: true)

        let early = timeline.add(.numbered(4)) + timeline.add(.numbered(3))
        let hadGap = timeline.hasGap
        let shown = timeline.add(.numbered(2))

        #expect(early.isEmpty)
        #expect(hadGap)
        #expect(shown.map(\.seq) == [2, 3, 4])
        #expect(!timeline.hasGap)
    }

    @Test func `what a whole page lacks was lost by the server`() {
        var timeline = Timeline(limits: ClientLimits())
        timeline.reset([.numbered(1)], isWhole: true)
        _ = timeline.add(.numbered(3))
        _ = timeline.add(.numbered(9))

        let shown = timeline.append([], settled: 3)

        #expect(shown.isEmpty)
        #expect(timeline.upTo == 1)
        #expect(timeline.unsequenced.map(\.id) == [.numbered(3)])
        #expect(timeline.hasGap)
    }

    @Test func `a number given to another message takes away all above it`() throws {
        var timeline = Timeline(limits: ClientLimits())
        timeline.reset((1...4).map { .numbered($0) }, isWhole: true)

        timeline.lose(from: 3)
        let lost = timeline.beat
        _ = timeline.add(.numbered(9, seq: 3))
        let back = timeline.add(.numbered(3, seq: 4))

        let digest = (UUID.numbered(3).folded ^ UUID.numbered(4).folded)
        #expect(lost.contains("\"upTo\":2,\"count\":2,\"digest\":\""))
        #expect(lost.contains(String(digest, radix: 16)))
        #expect(timeline.unsequenced.map(\.id) == [.numbered(4)])
        #expect(back.map(\.id) == [.numbered(3)])
        #expect(timeline[.numbered(4)]?.seq == 4)
    }

    @Test func `a deletion takes the text wherever the message is`() {
        var timeline = Timeline(limits: ClientLimits())
        timeline.reset([.numbered(1), .numbered(2)], isWhole: false)

        _ = timeline.add(.deletion(5, of: .numbered(4)))
        _ = timeline.add(.deletion(3, of: .numbered(1)))
        let late = timeline.add(.numbered(4))
        _ = timeline.add(.deletion(6, of: .numbered(0)))
        let older = timeline.prepend([.numbered(0)], isWhole: true)

        #expect(timeline[.numbered(1)]?.isDeleted == true)
        #expect(timeline[.numbered(2)]?.text == "text 2")
        #expect(late.first?.id == .numbered(4))
        #expect(timeline[.numbered(4)]?.text == "")
        #expect(timeline[.numbered(4)]?.receipt == nil)
        #expect(older.first?.isDeleted == true)
    }

    @Test func `a deleted message that has no number is forgotten`() {
        var timeline = Timeline(limits: ClientLimits())
        timeline.reset((1...4).map { .numbered($0) }, isWhole: true)
        var known = ChatMessage.numbered(7)
        known.delete()

        _ = timeline.add(.deletion(5, of: .numbered(3)))
        _ = timeline.add(known)
        timeline.lose(from: 3)
        let afterLoss = timeline.unsequenced.map(\.id)
        _ = timeline.add(.deletion(8, of: .numbered(4), seq: 3))
        let afterDeletion = timeline.unsequenced.map(\.id)
        var late = ChatMessage.numbered(4)
        late.seq = nil
        _ = timeline.add(late)
        _ = timeline.add(known)
        _ = timeline.append([], settled: 7)

        #expect(afterLoss == [.numbered(4), .numbered(5)])
        #expect(afterDeletion == [.numbered(5)])
        #expect(timeline.unsequenced.map(\.id) == [.numbered(5)])
        #expect(!timeline.hasGap)
    }

    @Test func `only the newest messages are kept, and all that a heartbeat needs`() {
        var limits = ClientLimits()
        limits.messages = 8
        var timeline = Timeline(limits: limits)
        timeline.reset([.numbered(1)], isWhole: true)

        for number in 2...11 {
            _ = timeline.add(.numbered(number))
            timeline.trim()
        }

        #expect(timeline.messages.map(\.seq) == Array(4...11))
        #expect(!timeline.isWhole)
        #expect(timeline[.numbered(3)] == nil)
        #expect(timeline.beat == "{\"amhere\":true,\"seen\":{\"upTo\":11}}")
    }

    @Test func `the digest is the protocol's`() throws {
        let id = try #require(UUID(uuidString: "2b190304-9788-4dfb-be16-723cdcf6bb51"))

        let beat = ClientFrame.beat(upTo: 4711, unsequenced: [id])

        #expect(beat.contains("\"digest\":\"950f71384b7ef6aa\""))
        #expect(ClientFrame.beat(upTo: .max, unsequenced: []).utf8.count <= 64)
    }
}

extension UUID {
    static func numbered(_ number: Int) -> UUID {
        let digits = String(number, radix: 16)
        let tail = String(repeating: "0", count: 12 - digits.count) + digits
        guard let id = UUID(uuidString: "2b190304-9788-4dfb-be16-\(tail)") else {
            preconditionFailure("\(number) makes no id")
        }
        return id
    }
}

extension ChatMessage {
    static func numbered(_ number: Int, seq: Int64? = nil) -> ChatMessage {
        ChatMessage(
            id: .numbered(number), from: "bo", sentAt: "2026-11-23T10:15:02.113Z",
            receivedAt: "2026-11-23T10:15:02.131Z", text: "text \(number)",
            seq: seq ?? Int64(number), receipt: "receipt \(number)")
    }

    static func deletion(_ number: Int, of id: UUID, seq: Int64? = nil) -> ChatMessage {
        var message = numbered(number, seq: seq)
        message.text = ""
        message.event = Event(kind: "delete", id: id)
        return message
    }
}
