/// Lets so many things happen in a second, and the same number at once after a pause.
///
/// Kept as the one instant at which the bucket would be full again (the "generic cell rate
/// algorithm" of ITU-T I.371), so that no clock has to refill it.
struct TokenBucket: Sendable {
    private let interval: Duration
    private let burst: Duration
    private var full: ContinuousClock.Instant?

    /// - Precondition: `perSecond` is positive.
    init(perSecond: Int) {
        precondition(perSecond > 0, "a rate is positive")
        interval = .seconds(1) / perSecond
        burst = interval * perSecond
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
