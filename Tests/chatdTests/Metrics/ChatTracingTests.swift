import InMemoryTracing
import ShardRouter
import Synchronization
import Testing
import Tracing

@testable import chatd

@Suite(.timeLimit(.minutes(1))) struct ChatTracingTests {
    @Test func `without a tracer there are no spans`() {
        #expect(ChatTracing().start("chatd.message", room: .lobby) == nil)
        #expect(ChatTracing(NoOpTracer()).start("chatd.message", room: .lobby) == nil)
    }

    @Test func `a message has a span from its frame to its outcome`() async throws {
        let tracer = InMemoryTracer()
        let store = MemoryMessageStore()
        try await TestChat.run(store: store, tracing: ChatTracing(tracer)) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            store.hold()

            ada.send(Sent.message(1))
            try await ada.settle()
            #expect(tracer.activeSpans.contains { $0.operationName == "chatd.message" })
            store.release()
            _ = try await ada.next("ack")
            store.fail(writes: .stopped)
            ada.send(Sent.message(2))
            _ = try await ada.next("error")

            let spans = tracer.finishedSpans.filter { $0.operationName == "chatd.message" }
            #expect(
                spans.map { $0.attributes["outcome"]?.toSpanAttribute() } == [
                    .string("stored"), .string("stopped"),
                ])
            #expect(
                spans.allSatisfy {
                    $0.attributes["room.id"]?.toSpanAttribute() == .string("lobby")
                })
        }
    }

    @Test func `reads have spans, and tell when they failed`() async throws {
        let tracer = InMemoryTracer()
        let store = MemoryMessageStore()
        try await TestChat.run(store: store, tracing: ChatTracing(tracer)) { chat in
            let ada = chat.client("ada")
            try await ada.join()
            store.fail(reads: .stopped)

            ada.send("{\"type\":\"history\"}")
            _ = try await ada.next("error")

        }

        let errors = Dictionary(
            uniqueKeysWithValues: tracer.finishedSpans.map { ($0.operationName, $0.errors.count) })
        #expect(errors == ["chatd.window.read": 0, "chatd.history": 1])
    }

    @Test func `what happens within a span is a part of it`() async throws {
        let tracer = InMemoryTracer()
        let span = tracer.startSpan("outer")

        await within(span) { tracer.startSpan("inner").end() }
        span.end()

        #expect(tracer.finishedSpans.first?.parentSpanID == span.spanID)
    }
}
