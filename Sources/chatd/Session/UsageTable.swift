/// What each of many is doing: how many sockets he has open, and how fast he is. Pure.
///
/// Bounded: who has no socket and did nothing for a while is forgotten when there are too many.
struct UsageTable<Key: Hashable & Sendable>: Sendable {
    typealias Instant = ContinuousClock.Instant

    private struct Usage {
        var sockets = 0
        var bucket: TokenBucket
        var last: Instant
    }

    private let perSecond: Int
    private let socketsAtMost: Int
    private let remembered: Int
    private var usages: [Key: Usage] = [:]
    /// Those without a socket.
    private var idleCount = 0
    private var lastSweep: Instant?

    /// - Parameters:
    ///   - perSecond: how often each may do something, and at once after a pause.
    ///   - sockets: how many each may have open.
    ///   - remembered: how many without a socket are remembered.
    init(perSecond: Int, sockets: Int = .max, remembered: Int) {
        self.perSecond = perSecond
        socketsAtMost = sockets
        self.remembered = remembered
    }

    var count: Int { usages.count }

    /// Whether another socket of `key` may be opened.
    func hasPlace(for key: Key) -> Bool {
        (usages[key]?.sockets ?? 0) < socketsAtMost
    }

    /// Counts a socket of `key`; ``close(_:)`` must follow.
    mutating func open(_ key: Key, at now: Instant) {
        change(key, at: now) { $0.sockets += 1 }
    }

    mutating func close(_ key: Key) {
        guard let usage = usages[key], usage.sockets > 0 else {
            preconditionFailure("a socket is closed once")
        }
        usages[key]?.sockets -= 1
        if usage.sockets == 1 { idleCount += 1 }
    }

    /// How long `key` has to wait before it may do something; nil when it may now.
    func wait(of key: Key, at now: Instant) -> Duration? {
        usages[key]?.bucket.wait(at: now)
    }

    /// Counts one thing that `key` does.
    mutating func use(_ key: Key, at now: Instant) {
        change(key, at: now) { _ = $0.bucket.take(at: now) }
    }

    private mutating func change(_ key: Key, at now: Instant, _ change: (inout Usage) -> Void) {
        var usage: Usage
        if let known = usages[key] {
            usage = known
            if known.sockets == 0 { idleCount -= 1 }
        } else {
            forgetSome(now)
            usage = Usage(bucket: TokenBucket(perSecond: perSecond), last: now)
        }
        usage.last = now
        change(&usage)
        if usage.sockets == 0 { idleCount += 1 }
        usages[key] = usage
    }

    private mutating func forgetSome(_ now: Instant) {
        guard idleCount >= remembered else { return }
        // All are looked at: not again for each of the many that come at once.
        let isDue = lastSweep.map { now - $0 >= UsageTimes.sweepInterval } ?? true
        guard isDue || idleCount >= remembered * 2 else { return }
        lastSweep = now
        usages = usages.filter { $0.value.sockets > 0 || now - $0.value.last < UsageTimes.memory }
        idleCount = usages.count { $0.value.sockets == 0 }
        guard idleCount >= remembered else { return }
        // Still too many: rather forget how fast they were than refuse everybody.
        usages = usages.filter { $0.value.sockets > 0 }
        idleCount = 0
    }
}

private enum UsageTimes {
    /// After this long a bucket is full again.
    static let memory: Duration = .seconds(2)
    static let sweepInterval: Duration = .seconds(1)
}
