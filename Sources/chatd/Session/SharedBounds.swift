import Synchronization

/// What all rooms of one socket may do together.
final class SharedBounds: Sendable {
    private struct State {
        var messages: TokenBucket
        var pages = 0
        var badFrames: Budget
    }

    private let pagesAtMost: Int
    private let state: Mutex<State>

    init(limits: ChatLimits) {
        pagesAtMost = limits.session.historyReads
        state = Mutex(
            State(
                messages: TokenBucket(perSecond: limits.messagesPerSecond),
                badFrames: Budget(
                    count: limits.session.badFrames, period: limits.session.budgetPeriod)))
    }

    /// Takes the place of a message; see ``TokenBucket/take(at:)``.
    func message(at now: ContinuousClock.Instant) -> Duration? {
        state.withLock { $0.messages.take(at: now) }
    }

    /// - Returns: whether a page may be read; ``pageEnded()`` must follow.
    func page() -> Bool {
        state.withLock { state in
            guard state.pages < pagesAtMost else { return false }
            state.pages += 1
            return true
        }
    }

    func pageEnded() {
        state.withLock { state in
            precondition(state.pages > 0, "a read ends after it began")
            state.pages -= 1
        }
    }

    /// A frame was not understood, and its sender was told so.
    ///
    /// - Returns: whether that was one too many.
    func badFrame(at now: ContinuousClock.Instant) -> Bool {
        state.withLock { $0.badFrames.spend(at: now) }
    }
}
