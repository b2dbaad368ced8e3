import HTTPTypes
import Logging
import NIOCore
import ShardRouter
import Testing

@testable import chatd

/// What a server that is used counts, read as `/metrics` writes it.
@Suite(.timeLimit(.minutes(1))) struct ChatMetricsTests {
    private let registry = PrometheusRegistry(
        logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    private var lines: [Substring] {
        registry.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
    }

    @Test func `frames are counted by what they are`() async throws {
        try await TestChat.run(metrics: ChatMetrics(factory: registry)) { chat in
            let ada = chat.client("ada")
            try await ada.join()

            ada.send(Sent.message(1))
            _ = try await ada.next("ack")
            ada.send(Sent.beat(upTo: 1))
            ada.send("{\"type\":\"typing\"}")
            ada.send("{\"type\":\"history\"}")
            _ = try await ada.next("history")
            ada.send("{\"type\":\"nonsense\"}")
            _ = try await ada.next("error")
        }

        for type in ["message", "heartbeat", "typing", "history", "bad"] {
            #expect(lines.contains("chatd_frames_received_total{type=\"\(type)\"} 1"))
        }
    }

    @Test func `messages are counted by how they ended`() async throws {
        let store = MemoryMessageStore()
        try await TestChat.run(store: store, metrics: ChatMetrics(factory: registry)) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            let shard = ShardID(1)
            let errors: [WriteError] = [
                .overloaded(shard: shard, retryAfter: .seconds(1)),
                .unavailable(shard: shard, reason: "", retryAfter: .seconds(1)),
                .unknownOutcome(shard: shard, reason: ""), .stopped,
                .refused(id: .numbered(9), reason: "", sqlState: nil),
            ]

            ada.send(Sent.message(1))
            _ = try await ada.next("ack")
            ada.send(Sent.message(1))
            _ = try await ada.next("ack")
            ada.send(Sent.message(1, text: "other"))
            _ = try await ada.next("error")
            for error in errors {
                store.fail(writes: error)
                ada.send(Sent.message(2))
                _ = try await ada.next("error")
            }
            store.fail(writes: nil)
            store.queue(true)
            ada.send(Sent.message(3))
            _ = try await ada.next("ack")
        }

        for outcome in MessageLabel.allCases {
            #expect(lines.contains("chatd_messages_total{outcome=\"\(outcome.text)\"} 1"))
        }
        #expect(lines.contains("chatd_store_seconds_count \(MessageLabel.allCases.count)"))
    }

    @Test func `a delivery is counted for each socket that gets it`() async throws {
        try await TestChat.run(metrics: ChatMetrics(factory: registry)) { chat in
            let people = [chat.client("ada"), chat.client("bo"), chat.client("cy")]
            for person in people { try await person.join() }
            let before = deliveries()

            people[0].send("{\"type\":\"typing\"}")
            _ = try await people[1].next("typing")

            #expect(deliveries() == before + 2)
        }
    }

    private func deliveries() -> Int {
        let line = lines.first { $0.hasPrefix("chatd_deliveries_total ") }
        return line?.split(separator: " ").last.flatMap { Int($0) } ?? -1
    }

    @Test func `syncs, reads of the shard and pub-sub are counted`() async throws {
        let hub = PubSubHub()
        let store = MemoryMessageStore()
        store.put(.numbered(1))
        let other = hub.link()
        try await TestChat.run(
            store: store, hub: hub, metrics: ChatMetrics(factory: registry)
        ) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            other.publish(RoomEvent.typing(user: "bo").encoded(), to: .lobby)
            _ = try await ada.next("typing")

            ada.send(Sent.beat(upTo: 0))
            _ = try await ada.next("sync")

            let sent = chat.pubSub.published.count
            #expect(sent > 0)
            #expect(lines.contains("chatd_pubsub_published_total \(sent)"))
        }

        #expect(lines.contains("chatd_pubsub_received_total 1"))
        #expect(lines.contains("chatd_syncs_total 1"))
        #expect(lines.contains("chatd_window_reads_total 1"))
    }

    @Test func `bytes written are counted, headers included`() throws {
        let channel = EmbeddedSocket(metrics: ChatMetrics(factory: registry))

        try channel.open()
        try channel.sendAndClose("hello", code: 4002)

        // A ping of 8 bytes, 5 bytes of text, and a close frame with a code: 2 more for each.
        #expect(lines.contains("chatd_bytes_sent_total \(10 + 7 + 4)"))
        #expect(lines.contains("chatd_sockets_closed_total{code=\"4002\"} 1"))
    }

    @Test(
        arguments: [
            (nil, "1006"), (1000, "1000"), (1003, "1003"), (4001, "4001"), (4401, "4401"),
            (4429, "4429"),
            (1006, "1006"), (3999, "other"), (0, "other"),
        ] as [(UInt16?, String)])
    func `only known codes are labels`(code: UInt16?, label: String) {
        #expect(CloseLabel(code).text == label)
    }

    @Test(arguments: [
        (101, "1xx"), (200, "2xx"), (304, "3xx"), (404, "4xx"), (503, "5xx"), (999, "5xx"),
    ])
    func `answers are counted by class`(code: Int, label: String) {
        #expect(StatusLabel(HTTPResponse.Status(code: code)).text == label)
    }

    @Test func `raw values of labels are places in an array`() {
        func check<Label: MetricLabel>(_ labels: [Label]) {
            #expect(labels.map(\.rawValue) == Array(labels.indices))
            #expect(Set(labels.map(\.text)).count == labels.count)
        }

        check(FrameLabel.allCases)
        check(MessageLabel.allCases)
        check(CloseLabel.allCases)
        check(RouteLabel.allCases)
        check(StatusLabel.allCases)
    }

    @Test func `every metric has a text of its own`() {
        _ = ChatMetrics(factory: registry)

        for family in registry.families {
            #expect(MetricHelp.text(for: family.name) != family.name.spaced)
        }
    }
}

extension String {
    fileprivate var spaced: String { String(map { $0 == "_" ? " " : $0 }) }
}
