import Postgres

/// Where the chat has its time from; tests turn the hands themselves.
struct ChatClock: Sendable {
    /// For durations.
    var now: @Sendable () -> ContinuousClock.Instant
    /// For what is written down.
    var time: @Sendable () -> Timestamp

    static let system = ChatClock(now: { .now }, time: { .now })
}
