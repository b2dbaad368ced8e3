/// Lets so many things happen in a second, and as many at once after a pause.
///
/// Kept as the one instant at which the bucket would be full again (the "generic cell rate
/// algorithm" of ITU-T I.371), so that no clock has to refill it.
struct TokenBucket: Sendable {
    private let interval: Duration
    private let burst: Duration
    private var full: ContinuousClock.Instant?

    /// - Parameter burst: what may happen at once after a pause; a second's worth when it is nil.
    /// - Precondition: both are positive.
    init(perSecond: Int, burst: Int? = nil) {
        precondition(perSecond > 0, "a rate is positive")
        precondition(burst ?? 1 > 0, "a burst is positive")
        interval = .seconds(1) / perSecond
        self.burst = interval * (burst ?? perSecond)
    }

    /// How long to wait for the next token; nil when there is one.
    func wait(at now: ContinuousClock.Instant) -> Duration? {
        let excess = max(full ?? now, now) + interval - now - burst
        return excess > .zero ? excess : nil
    }

    /// Takes a token.
    ///
    /// - Returns: nil when there was one, else how long to wait for the next; nothing was taken.
    mutating func take(at now: ContinuousClock.Instant) -> Duration? {
        let full = max(self.full ?? now, now) + interval
        let excess = (full - now) - burst
        guard excess <= .zero else { return excess }
        self.full = full
        return nil
    }
}
