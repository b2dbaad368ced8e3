/// Decides when a room reads its shard, and what: one read at a time, never sooner than its limits
/// allow, and only while somebody is there to be told.
///
/// cold → warm once the newest messages were read. Later reads ask for what follows the window's
/// head: because a hole in it lasts, because somebody knows of a higher `seq`, because other
/// servers cannot be heard, or because the shard has not told anything for long.
struct ReadPlan: Sendable {
    typealias Instant = ContinuousClock.Instant

    enum Request: Equatable, Sendable {
        /// The newest messages, back to what the window is to cover.
        case newest
        /// What follows this `seq`. `target` was the newest known when the read was decided.
        case after(Int64, target: Int64)
    }

    /// Why a read is wanted beyond holes in the window.
    private enum Wish {
        case nothing
        /// Somebody knows of a message with this `seq`; if it is not here by then, it is read.
        case upTo(Int64, due: Instant)
        /// Messages may have been missed, nobody knows which.
        case whatever
        /// What is here may be wrong: the shard has another message where this window has one.
        case everything
    }

    private let limits: RoomLimits
    private var wish = Wish.nothing
    /// When the first hole was seen that is still there.
    private var gapSince: Instant?
    private(set) var isReading = false
    /// When the last read began that reached the newest message.
    private(set) var lastStart: Instant?
    private var failures = 0
    private var notBefore: Instant?
    /// When somebody last told this server what the shard has: a read, or a commit.
    private var lastWord: Instant?
    private var disproved: (seq: Int64, until: Instant)?

    init(limits: RoomLimits) {
        self.limits = limits
    }

    /// Whether the last read failed.
    var isFailing: Bool { failures > 0 }

    /// Whether no read is wanted, but for the one that a quiet room makes now and then.
    var isCalm: Bool {
        guard case .nothing = wish else { return false }
        return !isFailing && gapSince == nil
    }

    /// Somebody knows of a message with `seq`.
    ///
    /// - Parameter isUrgent: whether to read at once. Another server's word may have overtaken the
    ///   message itself, so that a moment's patience spares a read.
    mutating func heard(of seq: Int64, isUrgent: Bool, now: Instant) {
        let due = isUrgent ? now : now + limits.gapGrace
        switch wish {
        case .whatever, .everything: return
        case .upTo(let known, let earlier): wish = .upTo(max(known, seq), due: min(earlier, due))
        case .nothing: wish = .upTo(seq, due: due)
        }
    }

    /// Messages may have been missed.
    mutating func missedSomething() {
        if case .everything = wish { return }
        wish = .whatever
    }

    /// The shard contradicts what is here.
    mutating func contradicted() {
        wish = .everything
    }

    /// A client says that it has everything up to `seq`, which is more than is known here.
    ///
    /// - Returns: whether the shard was read less than a beat ago and knew nothing as high. Then it
    ///   is not read again for it.
    mutating func claimed(_ seq: Int64, now: Instant) -> Bool {
        if let disproved, seq <= disproved.seq, now < disproved.until { return true }
        heard(of: seq, isUrgent: true, now: now)
        return false
    }

    /// The shard was read, and it knows nothing as high as the `seq` that a client claimed.
    mutating func disprove(_ seq: Int64, now: Instant) {
        disproved = (seq, now + limits.want.lookUpInterval)
    }

    /// The read to start now, if any.
    ///
    /// - Parameters:
    ///   - isNeeded: whether the room has, or awaits, a socket.
    ///   - isDeaf: whether other servers cannot be heard.
    ///   - waiting: the highest `seq` that waits for one below it to arrive; nil when none does.
    mutating func next(
        now: Instant, window: Window, isNeeded: Bool, isDeaf: Bool, waiting: Int64? = nil
    ) -> Request? {
        noteGap(window.hasGap || waiting != nil, now)
        let newest = max(window.newest, waiting ?? 0)
        if case .upTo(let seq, due: _) = wish, seq <= window.head { wish = .nothing }
        guard isNeeded, !isReading else { return nil }
        if let notBefore, now < notBefore { return nil }
        guard window.isAnchored else { return start(.newest, now) }
        guard isDue(now, window, isDeaf: isDeaf) else { return nil }
        if case .everything = wish { return start(.newest, now) }
        if newest - window.head > limits.catchUpMessages { return start(.newest, now) }
        return start(.after(window.head, target: newest), now)
    }

    /// The read that ``next(now:window:isNeeded:isDeaf:)`` asked for came back.
    ///
    /// - Parameter isComplete: whether it reached the room's newest message.
    mutating func succeeded(isComplete: Bool, now: Instant) {
        precondition(isReading, "a read ends after it began")
        isReading = false
        failures = 0
        notBefore = nil
        if isComplete {
            if gapSince != nil { gapSince = now }
        } else {
            missedSomething()
            lastStart = nil
        }
    }

    mutating func failed(now: Instant) {
        precondition(isReading, "a read ends after it began")
        isReading = false
        missedSomething()
        let doublings = min(failures, 10)
        failures += 1
        notBefore = now + min(limits.readBackoff * (1 << doublings), limits.readBackoffAtMost)
    }

    /// The shard has told what its newest message is.
    mutating func heardShard(now: Instant) {
        lastWord = now
    }

    private mutating func start(_ request: Request, _ now: Instant) -> Request {
        isReading = true
        lastStart = now
        lastWord = now
        // What is heard of from here on is a new wish: this read may have come too early for it.
        wish = .nothing
        return request
    }

    private func isDue(_ now: Instant, _ window: Window, isDeaf: Bool) -> Bool {
        let sinceLast = lastStart.map { now - $0 }
        if let gapSince, now - gapSince >= limits.gapGrace { return true }
        // Nobody may ever say that a quiet room has lost something: it is compared now and then.
        if let lastWord, now - lastWord >= limits.quietReadInterval { return true }
        if isDeaf, sinceLast.map({ $0 >= limits.deafReadInterval }) ?? true { return true }
        if let sinceLast, sinceLast < limits.readInterval { return false }
        switch wish {
        case .nothing: return false
        case .upTo(let seq, let due): return now >= due && seq > window.head
        case .whatever, .everything: return true
        }
    }

    private mutating func noteGap(_ hasGap: Bool, _ now: Instant) {
        if !hasGap {
            gapSince = nil
        } else if gapSince == nil {
            gapSince = now
        }
    }
}
