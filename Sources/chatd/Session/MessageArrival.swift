import ShardRouter
import Tracing

/// A message from its arrival to its outcome, for metrics and traces.
struct MessageArrival: Sendable {
    let instant: ContinuousClock.Instant
    let span: (any Span)?
}

// MARK: - What metrics and traces are told

extension RoomEnvironment {
    /// A message has arrived; ``ended(_:_:)`` must follow.
    func arrived(in room: RoomID) -> MessageArrival {
        MessageArrival(instant: clock.now(), span: tracing.start("chatd.message", room: room))
    }

    func ended(_ arrival: MessageArrival, _ outcome: MessageLabel) {
        metrics.ended(outcome, after: clock.now() - arrival.instant)
        guard let span = arrival.span else { return }
        span.attributes["outcome"] = outcome.text
        span.end()
    }

    /// A page of a room's history.
    func history(
        of room: RoomID, _ request: HistoryRequest
    ) async throws(ReadError) -> HistoryPage {
        let span = tracing.start("chatd.history", room: room)
        defer { span?.end() }
        let page: Result<HistoryPage, ReadError> = await within(span) {
            do throws(ReadError) {
                return .success(
                    try await store.history(
                        of: room, before: request.before, after: request.after,
                        limit: request.limit, patience: limits.session.historyPatience))
            } catch {
                span?.recordError(error)
                return .failure(error)
            }
        }
        return try page.get()
    }
}
