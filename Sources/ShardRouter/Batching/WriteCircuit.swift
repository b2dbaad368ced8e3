/// Whether messages are sent to a shard: closed → open → trial → closed, or open again.
///
/// Closed, it lets everything through. It opens when nothing has succeeded for as long as
/// ``CircuitLimits/tolerance`` although something was tried, and lets nothing through for a pause.
/// Then one message may try; its outcome closes the circuit or opens it for a longer pause. Pure:
/// no clock, no chance.
struct WriteCircuit {
    typealias Instant = ContinuousClock.Instant

    enum Phase: Equatable {
        /// `failingSince`: when the first of the attempts began that have failed since the last
        /// success.
        case closed(failingSince: Instant?)
        case open(until: Instant)
        /// A message is trying. When nothing was heard of it until then, another one may.
        case trial(until: Instant)
    }

    enum Admission: Equatable {
        case allowed
        case refused(retryAfter: Duration)
    }

    private(set) var phase = Phase.closed(failingSince: nil)
    private var lastSuccess: Instant?
    private var pause: Duration
    private let limits: CircuitLimits

    init(limits: CircuitLimits) {
        self.limits = limits
        pause = limits.firstPause
    }

    /// Whether messages are turned away.
    var isOpen: Bool {
        switch phase {
        case .closed: false
        case .open, .trial: true
        }
    }

    /// A message wants to go to the shard.
    mutating func ask(now: Instant) -> Admission {
        switch phase {
        case .closed:
            return .allowed
        case .open(let until), .trial(let until):
            guard now >= until else {
                // The outcome of a trial is mostly known at once, whatever it may take.
                let longest = isTrial ? limits.firstPause : until - now
                return .refused(retryAfter: min(until - now, longest))
            }
            phase = .trial(until: now + limits.trial)
            return .allowed
        }
    }

    private var isTrial: Bool {
        switch phase {
        case .closed, .open: false
        case .trial: true
        }
    }

    /// Whether it is open and the time for a trial has long passed: whoever should try does not.
    func isOverdue(now: Instant) -> Bool {
        switch phase {
        case .closed, .trial: false
        case .open(let until): now >= until + limits.longestPause
        }
    }

    /// Whether it is closed although nothing has succeeded for too long, with an attempt on its way
    /// since `start`.
    func isStalled(since start: Instant, now: Instant) -> Bool {
        switch phase {
        case .closed: now - fruitless(since: start) >= limits.tolerance
        case .open, .trial: false
        }
    }

    /// The shard has answered a batch.
    ///
    /// - Returns: whether this closed the circuit.
    mutating func succeeded(now: Instant) -> Bool {
        defer {
            phase = .closed(failingSince: nil)
            lastSuccess = now
            pause = limits.firstPause
        }
        return isOpen
    }

    /// An attempt that began at `start` has failed, and not by the fault of a message.
    ///
    /// - Parameter jitter: 0.5 … 1, so that the servers of a cluster do not come back as one.
    /// - Returns: whether this opened the circuit.
    mutating func failed(start: Instant, now: Instant, jitter: Double) -> Bool {
        switch phase {
        case .closed(let failingSince):
            let since = fruitless(since: failingSince ?? start)
            guard now - since >= limits.tolerance else {
                phase = .closed(failingSince: since)
                return false
            }
        case .open:
            return false  // An attempt from before it opened.
        case .trial:
            break
        }
        phase = .open(until: now + pause * jitter)
        pause = min(pause * 2, limits.longestPause)
        return true
    }

    /// Since when nothing has succeeded, of the time since `start`: other lanes may do well.
    private func fruitless(since start: Instant) -> Instant {
        lastSuccess.map { max($0, start) } ?? start
    }
}

/// What becomes of the way to a shard.
enum CircuitChange: Sendable, Equatable {
    case opened(ShardID, reason: String)
    case closed(ShardID)
}
