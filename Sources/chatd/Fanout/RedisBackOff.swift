/// How long to wait before the next attempt to connect.
struct RedisBackOff {
    private let limits: RedisLimits
    private var pause: Duration

    init(limits: RedisLimits) {
        self.limits = limits
        pause = limits.firstPause
    }

    /// A connection has ended that lived for `life`; nothing if it was never made.
    ///
    /// - Parameter draw: draws from a range. Servers that lost the same Redis come back one by one.
    mutating func next(
        after life: Duration, draw: (ClosedRange<Double>) -> Double = { .random(in: $0) }
    ) -> Duration {
        if life >= limits.settled { pause = limits.firstPause }
        defer { pause = min(pause * 2, limits.longestPause) }
        return pause * draw(0.5...1)
    }
}
