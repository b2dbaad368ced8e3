import FoundationEssentials
import Testing

@testable import ChatClient

@Suite struct ServerFrameTests {
    @Test func `an event of a later kind costs neither itself nor its page`() throws {
        let page = try page(
            """
            {"id":"\(UUID.numbered(1))","from":"bo","seq":1,"sentAt":7,"text":"one"},
            {"id":"\(UUID.numbered(2))","from":"bo","seq":2,
            "event":{"kind":"pin","id":"#7","user":["cy"],"for":"ever","until":5}},
            {"id":"\(UUID.numbered(3))","from":"bo","seq":3,"event":{"kind":4}}
            """)

        try #require(page.messages.map(\.seq) == [1, 2, 3])
        #expect(page.messages[0].sentAt == "")
        #expect(page.messages[1].event == ChatMessage.Event(kind: "pin"))
        #expect(page.messages[2].event == ChatMessage.Event(kind: ""))
        #expect(page.messages.allSatisfy { $0.deletedID == nil })
    }

    @Test func `what cannot be read is passed over, and the rest of the page is taken`() throws {
        let page = try page(
            """
            {"id":"\(UUID.numbered(1))","from":"bo","seq":1,"text":"one"},
            {"id":"5","from":"bo","seq":2,"text":"two"}, null, 7, [], {},
            {"id":"\(UUID.numbered(4))","from":"bo","seq":"four"},
            {"id":"\(UUID.numbered(5))","from":"bo","seq":5,"event":"later"},
            {"id":"\(UUID.numbered(6))","from":"bo","seq":6,"text":"six"}
            """)

        #expect(page.messages.map(\.text) == ["one", "six"])
    }

    private func page(_ messages: String) throws -> ServerFrame.Page {
        let text = "{\"type\":\"history\",\"messages\":[\(messages)],\"complete\":true}"
        switch try #require(ServerFrame.read(text)) {
        case .history(let page): return page
        case .hello, .message, .stored, .ack, .sync, .want, .presence, .typing, .error, .bye,
            .other:
            throw NoPage()
        }
    }

    private struct NoPage: Error {}
}
