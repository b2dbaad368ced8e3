import HTTPTypes
import ShardRouter
import Tracing

/// The spans of a chat server. Where nobody traces, asking for one costs a comparison with nil.
///
/// Span names and attributes: `chatd.message` (`outcome`), `chatd.history`, `chatd.window.read`,
/// and `chatd.http` (`http.request.method`, `http.route`, `http.response.status_code`). Rooms are
/// the attribute `room.id`.
struct ChatTracing: Sendable {
    private let tracer: (any Tracer)?

    /// - Parameter tracer: nil takes the one that the program has set up, if any.
    init(_ tracer: (any Tracer)? = nil) {
        let found = tracer ?? InstrumentationSystem.tracer
        self.tracer = found is NoOpTracer ? nil : found
    }

    /// A span that the caller must end; nil where nobody traces.
    func start(_ name: StaticString, room: RoomID) -> (any Span)? {
        guard let tracer else { return nil }
        let span = tracer.startSpan(name.description)
        span.attributes["room.id"] = room.text
        return span
    }

    /// The span of a request, which continues the trace that its headers name.
    func start(_ request: HTTPRequest, route: RouteLabel) -> (any Span)? {
        guard let tracer else { return nil }
        var context = ServiceContext.topLevel
        tracer.extract(request.headerFields, into: &context, using: HeaderExtractor())
        let span = tracer.startSpan("chatd.http", context: context, ofKind: .server)
        span.attributes["http.request.method"] = request.method.rawValue
        span.attributes["http.route"] = route.text
        return span
    }
}

extension Span {
    /// The answer to a request is known.
    func ended(_ status: HTTPResponse.Status) {
        attributes["http.response.status_code"] = status.code
        if status.kind == .serverError { setStatus(SpanStatus(code: .error)) }
        end()
    }
}

/// Does `work` as a part of `span`, if there is one.
func within<Value>(
    _ span: (any Span)?, _ work: () async throws -> Value
) async rethrows -> Value {
    guard let span else { return try await work() }
    return try await ServiceContext.withValue(span.context, operation: work)
}

/// Finds what a caller said about its trace.
struct HeaderExtractor: Extractor {
    func extract(key: String, from fields: HTTPFields) -> String? {
        HTTPField.Name(key).flatMap { fields[$0] }
    }
}
