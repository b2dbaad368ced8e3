import Postgres

/// What one socket may do, and when it has to end. Pure: told what happens and when, it answers
/// what to do.
///
/// opening → open → ending; `opening` may end, too.
struct SessionStateMachine: Sendable {
    typealias Instant = ContinuousClock.Instant

    enum Phase: Equatable, Sendable {
        /// Waits for `hello`; frames that arrive are held.
        case opening
        case open
        /// Closed, or about to be: whatever arrives is ignored.
        case ending
    }

    /// What to do with a frame that arrived.
    enum Intake: Equatable {
        case handle
        /// Keep it until the session is open.
        case hold
        case ignore
        case refuse(Refusal)
        case end(Ending)
    }

    /// Why a frame is not done now; its sender may try again.
    struct Refusal: Equatable {
        var code: ErrorCode
        var retryAfter: Duration
    }

    /// Why the server closes the socket.
    enum Ending: Equatable {
        case silent, tooSlow, tooManyErrors, tooManyFrames, stopped, draining, kicked
        /// Other sockets of the user, or in the room, have taken all places.
        case tooManySocketsOfUser, roomFull
        /// The identity has to be proven again, and was not.
        case expired
        /// The identity was proven again, and may not read the room any more.
        case noRight
        /// A moderator has sent the user out; nil: he may come back.
        case sentOut(until: Timestamp?)
        /// A moderator's bar still holds.
        case barred(until: Timestamp?)
    }

    private(set) var phase = Phase.opening
    private let limits: SessionLimits
    private var messages: TokenBucket
    /// Every frame that is no message.
    private var others: TokenBucket
    private var typing: TokenBucket
    private var answers: TokenBucket
    private var badFrames: Budget
    private var refusals: Budget
    private var heldFrames = 0
    private var heldBytes = 0
    private var writesInFlight = 0
    private var historyReads = 0
    private var lastBeat: Instant
    private var slowSince: Instant?
    private var expiry: Instant?

    /// - Parameter expiry: when the identity has to be proven again; nil: never.
    init(limits: ChatLimits, now: Instant, expiry: Instant? = nil) {
        self.expiry = expiry
        self.limits = limits.session
        messages = TokenBucket(perSecond: limits.messagesPerSecond)
        others = TokenBucket(perSecond: limits.session.otherFramesPerSecond)
        typing = TokenBucket(perSecond: limits.session.typingPerSecond)
        answers = TokenBucket(perSecond: limits.session.answersPerSecond)
        badFrames = Budget(
            count: limits.session.badFrames, period: limits.session.budgetPeriod)
        refusals = Budget(
            count: limits.session.refusedFrames, period: limits.session.budgetPeriod)
        lastBeat = now
    }

    /// `hello` was sent.
    mutating func welcomed() {
        switch phase {
        case .opening: phase = .open
        case .open: preconditionFailure("a session is welcomed once")
        case .ending: break  // It ended while it waited.
        }
    }

    /// The socket is closed, or will be.
    ///
    /// - Returns: whether it was not before.
    mutating func end() -> Bool {
        switch phase {
        case .opening, .open:
            phase = .ending
            return true
        case .ending:
            return false
        }
    }

    // MARK: Frames

    /// A frame arrived.
    ///
    /// - Parameters:
    ///   - bytes: its size.
    ///   - pendingBytes: what is waiting in the socket in the other direction.
    mutating func received(at now: Instant, bytes: Int = 0, pendingBytes: Int) -> Intake {
        switch phase {
        case .ending:
            return .ignore
        case .opening where isExpired(at: now), .open where isExpired(at: now):
            return .end(.expired)
        case .opening:
            heldFrames += 1
            heldBytes += bytes
            let isTooMuch =
                heldFrames > limits.earlyFrames || heldBytes > limits.earlyBytes
            return isTooMuch ? .end(.tooManyFrames) : .hold
        case .open:
            return pendingBytes > limits.pendingBytesAtMost ? .end(.tooSlow) : .handle
        }
    }

    /// A frame was not understood, and its sender was told so.
    ///
    /// - Returns: why the socket has to end, if so.
    mutating func badFrame(at now: Instant) -> Ending? {
        badFrames.spend(at: now) ? .tooManyErrors : nil
    }

    /// A message is to be stored; each one that is handled must be followed by ``writeEnded()``.
    mutating func message(at now: Instant) -> Intake {
        if let wait = messages.take(at: now) { return refuse(.rateLimited, wait, now) }
        guard writesInFlight < limits.writesInFlight else {
            return refuse(.overloaded, limits.overloadedRetryAfter, now)
        }
        writesInFlight += 1
        return .handle
    }

    /// A message that was to be stored is not: the user, or the room, has to wait.
    mutating func messageRefused(for wait: Duration, at now: Instant) -> Intake {
        writeEnded()
        return refuse(.rateLimited, wait, now)
    }

    mutating func writeEnded() {
        precondition(writesInFlight > 0, "a write ends after it began")
        writesInFlight -= 1
    }

    /// A message is given back.
    mutating func answer(at now: Instant) -> Intake {
        if let wait = answers.take(at: now) { return refuse(.rateLimited, wait, now) }
        return .handle
    }

    /// A page is to be read; each one that is handled must be followed by ``historyEnded()``.
    mutating func history(at now: Instant) -> Intake {
        if let wait = others.take(at: now) { return refuse(.rateLimited, wait, now) }
        guard historyReads < limits.historyReads else {
            return refuse(.overloaded, limits.overloadedRetryAfter, now)
        }
        historyReads += 1
        return .handle
    }

    mutating func historyEnded() {
        precondition(historyReads > 0, "a read ends after it began")
        historyReads -= 1
    }

    /// The user is typing; what is too often is passed over.
    mutating func typing(at now: Instant) -> Intake {
        if let wait = others.take(at: now) { return refuse(.rateLimited, wait, now) }
        return typing.take(at: now) == nil ? .handle : .ignore
    }

    /// A heartbeat arrived. It counts as one even when it is not looked into.
    mutating func beat(at now: Instant) -> Intake {
        lastBeat = now
        if let wait = others.take(at: now) { return refuse(.rateLimited, wait, now) }
        return .handle
    }

    /// A fresh token, or a frame that its sender has no right to send: it is to be looked at, or
    /// refused.
    mutating func other(at now: Instant) -> Intake {
        if let wait = others.take(at: now) { return refuse(.rateLimited, wait, now) }
        return .handle
    }

    /// The identity was proven again.
    ///
    /// - Parameter expiry: when that has to be done the next time; nil: never.
    mutating func renewed(until expiry: Instant?) {
        self.expiry = expiry
    }

    // MARK: Time

    private func isExpired(at now: Instant) -> Bool {
        expiry.map { now >= $0 } ?? false
    }

    /// Time has passed.
    ///
    /// - Returns: why the socket has to end, if so.
    mutating func ticked(at now: Instant, pendingBytes: Int) -> Ending? {
        guard phase != .ending else { return nil }
        if isExpired(at: now) { return .expired }
        if now - lastBeat >= limits.silence { return .silent }
        guard pendingBytes > limits.pendingBytes else {
            slowSince = nil
            return nil
        }
        if pendingBytes > limits.pendingBytesAtMost { return .tooSlow }
        let since = slowSince ?? now
        slowSince = since
        return now - since >= limits.slowness ? .tooSlow : nil
    }

    /// A frame is too much; being told so too often ends the socket.
    mutating func refuse(_ code: ErrorCode, _ wait: Duration, _ now: Instant) -> Intake {
        if refusals.spend(at: now) { return .end(.tooManyFrames) }
        return .refuse(Refusal(code: code, retryAfter: wait))
    }
}

extension SessionStateMachine.Ending {
    var code: CloseCode {
        switch self {
        case .silent: .silent
        case .tooSlow: .tooSlow
        case .tooManyErrors, .tooManyFrames, .tooManySocketsOfUser, .roomFull: .tooMany
        case .stopped: .stopped
        case .expired: .unauthorized
        case .noRight: .forbidden
        case .draining: .draining
        case .kicked, .sentOut, .barred: .forbidden
        }
    }

    /// Whether a socket with many rooms lives on without this one.
    var isOfRoom: Bool {
        switch self {
        case .silent, .roomFull, .noRight, .kicked, .sentOut, .barred: true
        case .tooSlow, .tooManyErrors, .tooManyFrames, .tooManySocketsOfUser, .stopped, .draining,
            .expired:
            false
        }
    }

    /// For people, and for the close frame: at most 123 bytes.
    var reason: String {
        switch self {
        case .silent: "no heartbeat"
        case .tooSlow: "too slow"
        case .tooManyErrors: "too many errors"
        case .tooManyFrames: "too many frames"
        case .tooManySocketsOfUser: "too many sockets of this user"
        case .roomFull: "too many sockets in this room"
        case .stopped: "server stopped"
        case .expired: "token: expired"
        case .noRight: "no right to read this room"
        case .draining: "draining"
        case .kicked: "removed by an operator"
        case .sentOut(let until):
            "sent out by a moderator" + (until.map { ", until \($0.rfc3339)" } ?? "")
        case .barred(let until):
            "barred by a moderator" + (until.map { ", until \($0.rfc3339)" } ?? "")
        }
    }
}
