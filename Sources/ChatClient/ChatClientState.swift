import FoundationEssentials

/// The whole client as a value: events go in, ``drain()`` gives what is to be done about them.
///
/// It decides when to connect, to which server and with which token, and whether to come back;
/// what is said over the connection is decided by ``RoomState``.
struct ChatClientState: Sendable {
    private enum Phase: Equatable {
        case idle
        /// Connecting waits for the provider of tokens.
        case needsToken
        /// On the way to `hello`.
        case opening
        case live
        case waiting
        case ended
    }

    /// How a connection ended that was refused, or closed.
    struct Ending: Sendable {
        /// The close code; nil when there was none.
        var code: UInt16?
        var reason = ""
        /// How long the server wants to be left alone, from an HTTP answer.
        var retryAfter: Duration?
    }

    private(set) var room: RoomState
    private let limits: ClientLimits
    private let serverCount: Int
    private let hasTokens: Bool
    private var delays: Delays
    private var phase = Phase.idle
    private var attempt = 0
    private var failures = 0
    private var bye: ServerFrame.Bye?
    private var reconnect = Delays.Bounds(lower: .milliseconds(200), upper: .seconds(5))
    /// When the phase ends by itself: no `hello`, no close after `bye`, or the time to come back.
    private var phaseEndsAt: Instant?
    private var token: ChatToken?
    private var refusedToken: ChatToken?
    private var isFetching = false
    private var fetchFailures = 0
    private var tokenDueAt: Instant?
    private var actions: [ClientAction] = []

    /// - Parameter outbox: what was not stored when the process ended.
    init(
        servers: Int, hasTokens: Bool, limits: ClientLimits, outbox: [OutboxEntry] = [],
        seed: UInt64
    ) {
        precondition(servers > 0, "a client knows at least one server")
        serverCount = servers
        self.hasTokens = hasTokens
        self.limits = limits
        delays = Delays(seed: seed)
        room = RoomState(limits: limits, outbox: outbox, seed: seed &+ 1)
    }

    /// What is to be done, in this order. Each action is given once.
    mutating func drain() -> [ClientAction] {
        defer { actions = [] }
        return actions
    }

    var view: ChatView {
        let connection: ChatView.Connection
        switch phase {
        case .idle, .needsToken, .opening: connection = .connecting
        case .live: connection = .live
        case .waiting: connection = .offline
        case .ended: connection = .closed
        }
        let lost = room.timeline.unsequenced.map { message in
            var message = message
            message.seq = nil
            return message
        }
        return ChatView(
            connection: connection,
            messages: (room.timeline.messages + lost).filter { $0.event == nil },
            pending: room.outbox.entries, people: room.people.sorted(),
            peopleCount: room.peopleCount)
    }

    // MARK: What the user wants

    mutating func connect(now: Instant) {
        switch phase {
        case .idle, .waiting, .ended: approach(now: now)
        case .needsToken, .opening, .live: break
        }
    }

    mutating func leave() {
        actions.append(.close(code: 1000))
        leaveRoom()
        end(code: 1000, reason: "left")
    }

    /// Does what `change` does to the room, and what follows from it.
    mutating func withRoom<Result>(
        _ now: Instant, _ change: (inout RoomState) -> Result
    ) -> Result {
        defer { collect(now: now) }
        return change(&room)
    }

    // MARK: Tokens

    /// - Parameter lifetime: how long it is good for; nil when nobody knows.
    mutating func tokenCame(_ fresh: ChatToken, lifetime: Duration?, now: Instant) {
        isFetching = false
        fetchFailures = 0
        tokenDueAt = nil
        guard fresh != refusedToken else {
            if phase == .needsToken { end(code: 4401, reason: "the token was refused before") }
            return
        }
        let isRenewal = fresh != token
        token = fresh
        if let lifetime {
            // Each client at another time, and never in a hurry.
            tokenDueAt = now + max(.seconds(1), lifetime * (0.7 + 0.2 * delays.fraction()))
        }
        switch phase {
        case .needsToken where failures > 1: wait(reconnectDelay(), now: now)
        case .needsToken: open(now: now)
        case .live where isRenewal: actions.append(.write(ClientFrame.token(fresh)))
        case .ended where refusedToken != nil: open(now: now)
        case .idle, .opening, .live, .waiting, .ended: break
        }
    }

    /// The provider of tokens has failed, and is asked again.
    mutating func tokenFailed(now: Instant) {
        isFetching = false
        tokenDueAt = now + delays.beforeRetry(failures: fetchFailures)
        fetchFailures += 1
    }

    private mutating func fetchToken() {
        tokenDueAt = nil
        guard hasTokens, !isFetching else { return }
        isFetching = true
        actions.append(.fetchToken)
    }

    // MARK: The connection

    private mutating func approach(now: Instant) {
        guard hasTokens, token == nil || token == refusedToken else { return open(now: now) }
        phase = .needsToken
        phaseEndsAt = nil
        fetchToken()
    }

    private mutating func open(now: Instant) {
        phase = .opening
        phaseEndsAt = now + limits.connectPatience
        bye = nil
        actions.append(
            .open(attempt: attempt + 1, server: attempt % serverCount, token: token))
        attempt += 1
    }

    mutating func received(_ text: String, attempt: Int, now: Instant) {
        guard attempt == self.attempt, let frame = ServerFrame.read(text) else { return }
        switch frame {
        case .hello(let hello):
            phase = .live
            phaseEndsAt = nil
            failures = 0
            refusedToken = nil
            reconnect = hello.reconnect?.delays.clamped(to: limits.reconnect) ?? reconnect
            actions.append(.tell(.connected(server: hello.server ?? "")))
        case .bye(let frame):
            bye = frame
            phaseEndsAt = now + limits.byePatience
        case .message, .stored, .ack, .sync, .history, .want, .presence, .typing, .error, .other:
            break
        }
        room.received(frame, now: now)
        collect(now: now)
    }

    mutating func closed(_ ending: Ending, attempt: Int, now: Instant) {
        guard attempt == self.attempt else { return }
        switch phase {
        case .opening, .live: lost(ending, now: now)
        case .idle, .needsToken, .waiting, .ended: break
        }
    }

    private mutating func lost(_ ending: Ending, now: Instant) {
        leaveRoom()
        let code = bye?.code ?? ending.code
        switch code {
        case 1000, 1002, 1003, 1007, 1009, 4403:
            end(code: code, reason: bye?.reason ?? ending.reason)
        case 4401 where hasTokens:
            failures += 1
            refusedToken = token
            phase = .needsToken
            phaseEndsAt = nil
            actions.append(.tell(.disconnected(code: code, comesBackAfter: .zero)))
            fetchToken()
        case 4401:
            refusedToken = token
            end(code: code, reason: bye?.reason ?? ending.reason)
        case _:
            let told = told(ending, code: code)
            let delay = told.map { min($0, limits.longestAbsence) } ?? reconnectDelay()
            failures += 1
            wait(delay, now: now)
            actions.append(.tell(.disconnected(code: code, comesBackAfter: delay)))
        }
    }

    /// How long to stay away by the server's word.
    private func told(_ ending: Ending, code: UInt16?) -> Duration? {
        let times = [bye?.reconnectAfter, bye?.retryAfter].compactMap(\.self)
        let told = times.max().map { max(.zero, .milliseconds($0)) } ?? ending.retryAfter
        return code == 4429 ? told ?? limits.penance : told
    }

    private mutating func reconnectDelay() -> Duration {
        delays.beforeReconnect(reconnect, failures: failures)
    }

    private mutating func wait(_ delay: Duration, now: Instant) {
        phase = .waiting
        phaseEndsAt = now + delay
    }

    private mutating func end(code: UInt16?, reason: String) {
        phase = .ended
        phaseEndsAt = nil
        attempt += 1
        actions.append(.tell(.ended(code: code, reason: reason)))
    }

    private mutating func leaveRoom() { room.left() }

    /// Takes over what the room wants to be done.
    private mutating func collect(now: Instant) {
        let wanted = room.actions
        room.actions = []
        for action in wanted where action != .abandon { actions.append(action) }
        if wanted.contains(.abandon) { abandon(now: now) }
    }

    private mutating func abandon(now: Instant) {
        actions.append(.close(code: 4000))
        lost(Ending(reason: "no answer"), now: now)
    }

    // MARK: Time

    /// When ``passed(now:)`` has to be called at the latest; nil while nothing is due.
    var deadline: Instant? {
        [phaseEndsAt, tokenDueAt, room.deadline].compactMap(\.self).min()
    }

    mutating func passed(now: Instant) {
        if let tokenDueAt, tokenDueAt <= now { fetchToken() }
        if let phaseEndsAt, phaseEndsAt <= now {
            switch phase {
            case .waiting: approach(now: now)
            case .opening, .live: abandon(now: now)
            case .idle, .needsToken, .ended: self.phaseEndsAt = nil
            }
        }
        room.passed(now: now)
        collect(now: now)
    }
}
