import DequeModule

/// Decides who gets which connection of a pool, and when one is made, cleaned or closed. Pure:
/// connections and callers are numbers, there is no clock and no chance.
///
/// Callers are served in the order of their asking. While connections do not come about, callers
/// are refused at once and one connection after the other is tried, with growing pauses.
struct PoolState {
    typealias Instant = ContinuousClock.Instant

    enum Action: Equatable {
        case lend(connection: Int, ticket: Int)
        case refuse(ticket: Int, Refusal)
        /// Make a connection and report it under this number.
        case connect(Int)
        case reset(Int)
        case close(Int)
    }

    /// Why a caller gets no connection.
    enum Refusal: Equatable {
        /// All are in use until the caller's deadline.
        case late
        /// Too many callers wait already.
        case crowded
        /// Connections do not come about; the next one is tried then.
        case away(retryAfter: Duration)
        case closed
        /// The caller does not wait any more.
        case abandoned
    }

    /// How a connection comes back.
    enum Condition {
        case clean
        /// A foreign body has used it, or a transaction is open.
        case needsReset
        case broken
    }

    private struct Idle {
        var connection: Int
        var since: Instant
    }

    private struct Waiter {
        var ticket: Int
        var deadline: Instant
    }

    let limits: PoolLimits
    /// The last one is the one that was used last.
    private var idle: [Idle] = []
    private var waiters: Deque<Waiter> = []
    private(set) var leased: Set<Int> = []
    private(set) var connecting: Set<Int> = []
    private(set) var resetting: Set<Int> = []
    /// When each open connection is to be replaced.
    private var retirement: [Int: Instant] = [:]
    private var nextConnection = 0
    private var pause: Duration
    /// Set while connections do not come about: when the next one is tried.
    private var retryAt: Instant?
    private(set) var isClosed = false

    init(limits: PoolLimits) {
        self.limits = limits
        pause = limits.firstPause
    }

    var idleCount: Int { idle.count }
    var waiting: Int { waiters.count }
    var open: Int { idle.count + leased.count + connecting.count + resetting.count }

    /// A caller wants a connection until `deadline`.
    mutating func ask(ticket: Int, deadline: Instant, now: Instant) -> [Action] {
        if isClosed { return [.refuse(ticket: ticket, .closed)] }
        if let last = idle.popLast() {
            leased.insert(last.connection)
            return [.lend(connection: last.connection, ticket: ticket)]
        }
        if let retryAt, leased.isEmpty, resetting.isEmpty {
            guard now >= retryAt, connecting.isEmpty else {
                return [
                    .refuse(ticket: ticket, .away(retryAfter: max(.zero, retryAt - now)))
                ]
            }
        }
        guard waiters.count < limits.waiters else {
            return [.refuse(ticket: ticket, .crowded)]
        }
        guard deadline > now else { return [.refuse(ticket: ticket, .late)] }
        waiters.append(Waiter(ticket: ticket, deadline: deadline))
        return connectIfNeeded(now)
    }

    /// A caller does not wait any more.
    mutating func giveUp(ticket: Int) -> [Action] {
        guard let place = waiters.firstIndex(where: { $0.ticket == ticket }) else { return [] }
        waiters.remove(at: place)
        return [.refuse(ticket: ticket, .abandoned)]
    }

    /// A connection has come about.
    ///
    /// - Parameter jitter: 0 … 1, spreads the end of the connections' lives.
    mutating func connected(_ connection: Int, jitter: Double, now: Instant) -> [Action] {
        guard connecting.remove(connection) != nil else { return [.close(connection)] }
        retryAt = nil
        pause = limits.firstPause
        retirement[connection] = now + limits.age * (1 - jitter / 4)
        return take(connection, now) + connectIfNeeded(now)
    }

    /// A connection that was made elsewhere is handed in.
    ///
    /// - Returns: its number, and what is to be done.
    mutating func adopt(jitter: Double, now: Instant) -> (Int, [Action]) {
        let connection = newConnection()
        connecting.insert(connection)
        return (connection, connected(connection, jitter: jitter, now: now))
    }

    /// A connection did not come about.
    ///
    /// - Parameter jitter: 0.5 … 1, so that the servers of a cluster do not come back as one.
    mutating func connectFailed(_ connection: Int, jitter: Double, now: Instant) -> [Action] {
        connecting.remove(connection)
        retryAt = now + pause * jitter
        pause = min(pause * 2, limits.longestPause)
        // Whoever has a connection may still hand it on; else nobody is helped by waiting.
        guard leased.isEmpty, resetting.isEmpty, connecting.isEmpty, let retryAt else { return [] }
        defer { waiters = [] }
        return waiters.map { .refuse(ticket: $0.ticket, .away(retryAfter: retryAt - now)) }
    }

    /// A caller has given its connection back.
    mutating func returned(
        _ connection: Int, _ condition: Condition, now: Instant
    ) -> [Action] {
        guard leased.remove(connection) != nil else { return [] }
        let isOld = retirement[connection].map { $0 <= now } ?? true
        switch condition {
        case .broken:
            // What rests beside a broken one most likely leads to the same dead server, and each of
            // them would cost its user a time-out. When it does not, a connect is cheap.
            let others = idle.map(\.connection)
            idle = []
            return ([connection] + others).flatMap { drop($0) } + connectIfNeeded(now)
        case .clean, .needsReset:
            if isClosed || isOld { return drop(connection) + connectIfNeeded(now) }
            guard condition == .needsReset else { return take(connection, now) }
            resetting.insert(connection)
            return [.reset(connection)]
        }
    }

    /// A reset has ended; a connection whose reset failed is broken.
    mutating func resetEnded(_ connection: Int, isClean: Bool, now: Instant) -> [Action] {
        guard resetting.remove(connection) != nil else { return [.close(connection)] }
        guard isClean, !isClosed else { return drop(connection) + connectIfNeeded(now) }
        return take(connection, now)
    }

    /// Time has passed.
    mutating func tick(now: Instant) -> [Action] {
        var actions: [Action] = []
        // Where nobody has a connection the wait was for the server, not for other callers.
        let isAway = leased.isEmpty && resetting.isEmpty
        for waiter in waiters where waiter.deadline <= now {
            actions.append(
                .refuse(ticket: waiter.ticket, isAway ? .away(retryAfter: .zero) : .late))
        }
        if !actions.isEmpty { waiters.removeAll { $0.deadline <= now } }
        // The longest unused ones are first.
        while let first = idle.first, idle.count + leased.count > limits.kept,
            now - first.since >= limits.idle
        {
            idle.removeFirst()
            actions += drop(first.connection)
        }
        while let place = idle.firstIndex(where: {
            retirement[$0.connection].map { $0 <= now } ?? true
        }) {
            actions += drop(idle.remove(at: place).connection)
        }
        return actions + connectIfNeeded(now)
    }

    /// Nothing is lent any more.
    mutating func close() -> [Action] {
        isClosed = true
        let actions =
            waiters.map { Action.refuse(ticket: $0.ticket, .closed) }
            + idle.flatMap { drop($0.connection) }
        waiters = []
        idle = []
        return actions
    }
}

// MARK: - Steps

extension PoolState {
    private mutating func newConnection() -> Int {
        nextConnection += 1
        return nextConnection
    }

    /// A clean connection goes to the first who waits, else it rests.
    private mutating func take(_ connection: Int, _ now: Instant) -> [Action] {
        if isClosed { return drop(connection) }
        if let waiter = waiters.popFirst() {
            leased.insert(connection)
            return [.lend(connection: connection, ticket: waiter.ticket)]
        }
        idle.append(Idle(connection: connection, since: now))
        return []
    }

    private mutating func drop(_ connection: Int) -> [Action] {
        retirement[connection] = nil
        return [.close(connection)]
    }

    /// Makes connections for those who wait, and for those who will.
    private mutating func connectIfNeeded(_ now: Instant) -> [Action] {
        guard !isClosed else { return [] }
        var actions: [Action] = []
        let atOnce = retryAt == nil ? limits.connecting : 1
        if let retryAt, now < retryAt { return [] }
        let spare = idle.count + resetting.count
        while connecting.count < atOnce, open < limits.connections,
            open < limits.kept || connecting.count + spare < waiters.count
        {
            let connection = newConnection()
            connecting.insert(connection)
            actions.append(.connect(connection))
        }
        return actions
    }
}
