public import Postgres
import Synchronization

/// A clock whose hands tests turn.
public final class ManualClock: Sendable {
    private let elapsed = Mutex(Duration.zero)
    private let start = ContinuousClock.Instant.now
    private let startTime: Timestamp

    /// - Parameter time: what a clock on the wall shows at first.
    public init(time: Timestamp = Timestamp(microsecondsSince1970: 1_795_428_902_113_000)) {
        startTime = time
    }

    /// For durations.
    public var now: ContinuousClock.Instant { start + elapsed.withLock { $0 } }

    /// What a clock on the wall shows.
    public var time: Timestamp { startTime.advanced(by: elapsed.withLock { $0 }) }

    /// Lets `duration` pass.
    public func advance(by duration: Duration) {
        precondition(duration >= .zero, "time goes forward")
        elapsed.withLock { $0 += duration }
    }
}
