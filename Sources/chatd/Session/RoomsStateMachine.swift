/// What a socket with many rooms may do beside what it may do in each of them, and when it has to
/// end. Pure, as ``SessionStateMachine``.
struct RoomsStateMachine: Sendable {
    typealias Instant = ContinuousClock.Instant
    typealias Intake = SessionStateMachine.Intake
    typealias Ending = SessionStateMachine.Ending

    private let limits: SessionLimits
    private var frames: TokenBucket
    private var joins: TokenBucket
    private var refusals: Budget
    private var lastBeat: Instant
    private var expiry: Instant?
    private(set) var isEnding = false

    /// - Parameter expiry: when the identity has to be proven again; nil: never.
    init(limits: SessionLimits, now: Instant, expiry: Instant?) {
        self.limits = limits
        self.expiry = expiry
        frames = TokenBucket(perSecond: limits.sharedFramesPerSecond)
        joins = TokenBucket(perSecond: limits.joinsPerSecond, burst: limits.roomsPerSocket)
        refusals = Budget(count: limits.refusedFrames, period: limits.budgetPeriod)
        lastBeat = now
    }

    /// - Returns: whether it was not ending before.
    mutating func end() -> Bool {
        defer { isEnding = true }
        return !isEnding
    }

    /// A frame arrived, whatever it is.
    mutating func received(at now: Instant, pendingBytes: Int) -> Intake {
        if isEnding { return .ignore }
        if isExpired(at: now) { return .end(.expired) }
        if pendingBytes > limits.pendingBytesAtMost { return .end(.tooSlow) }
        guard let wait = frames.take(at: now) else { return .handle }
        return refuse(wait, now)
    }

    /// A room is to be joined.
    mutating func join(at now: Instant) -> Intake {
        guard let wait = joins.take(at: now) else { return .handle }
        return refuse(wait, now)
    }

    private mutating func refuse(_ wait: Duration, _ now: Instant) -> Intake {
        if refusals.spend(at: now) { return .end(.tooManyFrames) }
        return .refuse(SessionStateMachine.Refusal(code: .rateLimited, retryAfter: wait))
    }

    /// A sign of life of the socket itself, or of any of its rooms.
    mutating func beat(at now: Instant) {
        lastBeat = now
    }

    mutating func renewed(until expiry: Instant?) {
        self.expiry = expiry
    }

    /// Time has passed.
    ///
    /// - Returns: why the socket has to end, if so.
    func ticked(at now: Instant) -> Ending? {
        if isEnding { return nil }
        if isExpired(at: now) { return .expired }
        return now - lastBeat >= limits.silence ? .silent : nil
    }

    private func isExpired(at now: Instant) -> Bool {
        expiry.map { now >= $0 } ?? false
    }
}
