import HTTPTypes
import HummingbirdCore
import InMemoryTracing
import Logging
import NIOCore
import ShardRouter
import Testing
import Tracing

@testable import chatd

/// What metrics and traces are told about HTTP requests.
@Suite(.timeLimit(.minutes(1))) struct ResponderTests {
    private let registry = PrometheusRegistry(
        logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))

    @Test func `metrics are answered as Prometheus wants them`() async throws {
        try await TestChat.run(metrics: ChatMetrics(factory: registry)) { chat in
            let responder = responder(chat)

            let response = await responder.observed(request(.get, "/metrics"))

            #expect(response.status == .ok)
            #expect(
                response.headers[.contentType] == "text/plain; version=0.0.4; charset=utf-8")
            #expect(response.headers[.cacheControl] == "no-store")
            #expect(response.body.contentLength.map { $0 > 1_000 } == true)
        }
    }

    @Test func `metrics can only be read`() async throws {
        try await TestChat.run { chat in
            let response = await responder(chat).observed(request(.post, "/metrics"))

            #expect(response.status == .methodNotAllowed)
            #expect(response.headers[.allow] == "GET, HEAD")
        }
    }

    @Test func `requests are counted by route and class`() async throws {
        try await TestChat.run(metrics: ChatMetrics(factory: registry)) { chat in
            let responder = responder(chat)

            for path in ["/healthz", "/metrics", "/v1/rooms/a/messages", "/v1/rooms/b/messages"] {
                #expect(await responder.observed(request(.get, path)).status == .ok)
            }
            for path in ["/nothing", "/x/y", "%"] {
                _ = await responder.observed(request(.get, path))
            }

            let text = registry.text()
            for (labels, count) in [
                ("code=\"2xx\",route=\"health\"", 1), ("code=\"2xx\",route=\"metrics\"", 1),
                ("code=\"2xx\",route=\"messages\"", 2), ("code=\"4xx\",route=\"file\"", 1),
                ("code=\"4xx\",route=\"unknown\"", 2), ("code=\"5xx\",route=\"file\"", 0),
            ] {
                #expect(text.contains("\nchatd_http_requests_total{\(labels)} \(count)\n"))
            }
            #expect(text.contains("\nchatd_http_request_seconds_count{route=\"messages\"} 2\n"))
        }
    }

    @Test func `a request continues its caller's trace, and its work is a part of it`() async throws
    {
        let tracer = InMemoryTracer()
        try await TestChat.run(tracing: ChatTracing(tracer)) { chat in
            let caller: HTTPFields = [
                HTTPField.Name(InMemoryTracer.traceIDKey)!: "trace-of-caller",
                HTTPField.Name(InMemoryTracer.spanIDKey)!: "span-of-caller",
            ]

            _ = await responder(chat).observed(
                request(.get, "/v1/rooms/lobby/messages", caller))

            let spans = tracer.finishedSpans
            #expect(spans.map(\.operationName) == ["chatd.history", "chatd.http"])
            #expect(spans.map(\.traceID) == ["trace-of-caller", "trace-of-caller"])
            #expect(spans.last?.parentSpanID == "span-of-caller")
            #expect(spans.first?.parentSpanID == spans.last?.spanID)
            #expect(spans.last?.kind == .server)
            let attributes = try #require(spans.last?.attributes)
            #expect(attributes["http.request.method"]?.toSpanAttribute() == .string("GET"))
            #expect(attributes["http.route"]?.toSpanAttribute() == .string("messages"))
            #expect(attributes["http.response.status_code"]?.toSpanAttribute() == .int64(200))
        }
    }

    private func request(
        _ method: HTTPRequest.Method, _ path: String, _ headers: HTTPFields = [:]
    ) -> Request {
        Request(
            head: HTTPRequest(
                method: method, scheme: nil, authority: "chat.example", path: path,
                headerFields: headers),
            body: .init(buffer: ByteBuffer()))
    }

    private func responder(_ chat: TestChat) -> ChatResponder {
        ChatResponder(
            chat: chat.server,
            readiness: Readiness(
                store: chat.store, pubSub: chat.pubSub, limits: TransportLimits()),
            origins: OriginRule(), limits: ChatLimits(), files: WebFiles(),
            registry: registry)
    }
}
