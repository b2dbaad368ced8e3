import DequeModule

/// Counts mishaps, and says when there were too many of them within a period.
struct Budget: Sendable {
    private let count: Int
    private let period: Duration
    private var mishaps: Deque<ContinuousClock.Instant> = []

    /// - Parameter count: mishaps within `period` that are too many.
    init(count: Int, period: Duration) {
        precondition(count > 0, "a budget has something to spend")
        self.count = count
        self.period = period
    }

    /// Notes one more.
    ///
    /// - Returns: whether it was one too many.
    mutating func spend(at now: ContinuousClock.Instant) -> Bool {
        mishaps.append(now)
        while let first = mishaps.first, now - first >= period || mishaps.count > count {
            mishaps.removeFirst()
        }
        return mishaps.count == count
    }
}
