import Tracing

/// The spans of a router. Where nobody traces, asking for one costs a comparison with nil.
///
/// Span names and attributes: `router.store` (`shard.id`, `outcome`), `router.batch` (`shard.id`,
/// `rows`, links to the stores in it), `router.history`, `router.transaction` and `router.read`
/// (`shard.id`). Room ids are attributes, never parts of names.
struct RouterTracing: Sendable {
    private let tracer: (any Tracer)?

    /// - Parameter tracer: nil takes the one that the program has set up, if any.
    init(_ tracer: (any Tracer)?) {
        let found = tracer ?? InstrumentationSystem.tracer
        self.tracer = found is NoOpTracer ? nil : found
    }

    /// A span that the caller must end; nil where nobody traces.
    func start(_ name: StaticString, kind: SpanKind = .client, room: RoomID? = nil) -> (any Span)? {
        guard let tracer else { return nil }
        let span = tracer.startSpan(name.description, ofKind: kind)
        if let room { span.attributes["room.id"] = room.text }
        return span
    }

    /// The span of an attempt to store `batch`, linked to the spans of its messages.
    func start(_ batch: [PendingWrite], shard: ShardID) -> (any Span)? {
        guard let tracer else { return nil }
        let span = tracer.startSpan("router.batch", context: .topLevel, ofKind: .client)
        span.attributes["shard.id"] = shard.number
        span.attributes["rows"] = batch.count
        for entry in batch {
            if let context = entry.context {
                span.addLink(SpanLink(context: context, attributes: [:]))
            }
        }
        return span
    }
}
