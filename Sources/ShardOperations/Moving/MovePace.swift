import Synchronization

/// How fast a copy may go: slower as soon as commits of others take longer than before it, faster
/// again when they do not. Additive increase, multiplicative decrease, with a floor.
struct MovePace: Sendable, Equatable {
    /// What a commit took before the copy began.
    let baseline: Duration
    let limits: (floor: Double, factor: Double, allowance: Duration)
    /// Bytes per second; nil is as fast as it goes.
    private(set) var rate: Double?

    init(baseline: Duration, _ limits: MoveLimits) {
        self.baseline = baseline
        self.limits = (limits.floorBytesPerSecond, limits.latencyFactor, limits.latencyAllowance)
    }

    /// A commit at the slower of the two shards has taken `latency` while `copied` bytes per second
    /// went through.
    mutating func measured(latency: Duration, copied: Double) {
        let bound = max(baseline * limits.factor, baseline + limits.allowance)
        if latency > bound {
            rate = max(limits.floor, min(rate ?? copied, copied) * 0.7)
        } else if let rate {
            self.rate = rate * 1.1 + limits.floor / 4
        }
    }

    static func == (one: MovePace, other: MovePace) -> Bool {
        one.baseline == other.baseline && one.rate == other.rate
    }
}

/// Lets bytes pass at the pace, and counts them.
final class MoveGate: Sendable {
    private struct Contents {
        var rate: Double?
        var free: ContinuousClock.Instant
        var bytes: Int64 = 0
    }

    private let contents = Mutex(Contents(free: .now))

    var bytes: Int64 { contents.withLock(\.bytes) }

    func set(_ rate: Double?) { contents.withLock { $0.rate = rate } }

    /// Waits until `count` bytes may pass.
    func pass(_ count: Int) async throws {
        let free = contents.withLock { contents -> ContinuousClock.Instant? in
            contents.bytes += Int64(count)
            guard let rate = contents.rate else { return nil }
            let now = ContinuousClock.now
            let start = max(contents.free, now)
            contents.free = start + .seconds(Double(count) / rate)
            return start > now ? start : nil
        }
        if let free { try await Task.sleep(until: free, clock: .continuous) }
    }
}
