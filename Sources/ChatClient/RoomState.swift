import FoundationEssentials

/// What a state wants to be done, in this order.
enum ClientAction: Equatable, Sendable {
    /// Connect to the server of this number, and tell the state about it under `attempt`.
    case open(attempt: Int, server: Int, token: ChatToken?)
    case write(String)
    case close(code: UInt16)
    /// The server does not answer: the connection is dead, though nobody said so.
    case abandon
    case fetchToken
    case tell(ChatEvent)
    /// The message needs no more keeping.
    case forget(UUID)
}

/// One room of a client: its timeline, its outbox, its pages, its people and its heartbeats.
///
/// Frames and the time go in, actions come out. Whether there is a connection, and which, is not
/// its affair: it is told by `hello`, and by ``left()``.
struct RoomState: Sendable {
    /// What a page was asked for, `newest` before `after` before `before`.
    enum Wish: Int, Sendable {
        case newest, after, before
    }

    struct Request: Sendable {
        var wish: Wish
        /// The number that the page is to come after, or before; nil with `newest`.
        var from: Int64?
        var settled: Int64
        /// See ``RoomState/suspect``; the page goes below it.
        var suspect: Int64?
        var deadline: Instant
    }

    let limits: ClientLimits
    var delays: Delays
    var timeline: Timeline
    var outbox: Outbox
    var people: Set<String> = []
    var peopleCount = 0
    var isLive = false
    var actions: [ClientAction] = []

    // What the server has said about itself.
    var heartbeat = Delays.Bounds(lower: .milliseconds(3_500), upper: .seconds(7))
    var textBytes = 16_384
    var frameBytes = 65_536
    var messagesPerSecond = 20

    // Sending; see RoomState+Sending.swift.
    var inFlight: [UUID: Instant] = [:]
    var sendsAgainAt: Instant?
    var sendFailures = 0
    var sendTimes: [Instant] = []
    var typedAt: Instant?

    // Reading; see RoomState+Reading.swift.
    var wishes: Set<Wish> = []
    var request: Request?
    var asksAgainAt: Instant?
    var askFailures = 0
    var gapEndsAt: Instant?
    /// A number that was given a second time. Those below it may have been, too: who was away has
    /// heard of the newest only.
    var suspect: Int64?
    /// Where what was here before the last `hello` has to be joined to what came after: until a
    /// page did, a `sync` may have gone past the place without looking at it.
    var joint: Int64?
    var beatsAt: Instant?

    init(limits: ClientLimits, outbox: [OutboxEntry], seed: UInt64) {
        self.limits = limits
        delays = Delays(seed: seed)
        timeline = Timeline(limits: limits)
        self.outbox = Outbox(outbox)
    }

    // MARK: The connection

    private mutating func welcomed(_ hello: ServerFrame.Hello, now: Instant) {
        isLive = true
        heartbeat = hello.heartbeat?.delays.clamped(to: limits.heartbeat) ?? heartbeat
        textBytes = hello.limits?.textBytes ?? textBytes
        frameBytes = hello.limits?.frameBytes ?? frameBytes
        messagesPerSecond = max(1, hello.limits?.messagesPerSecond ?? messagesPerSecond)
        beatsAt = now + delays.between(heartbeat) * delays.fraction()
        let behind = (hello.head ?? 0) - timeline.upTo
        if !timeline.isLoaded || behind > limits.catchUp {
            joint = nil
            want(.newest, now: now)
        } else if behind > 0 || hello.warm != true || timeline.hasGap || suspect != nil {
            joint = min(joint ?? .max, max(0, timeline.upTo - 1))
            want(.after, now: now)
        }
        sendFailures = 0
        outbox.restart()
        sendNext(now: now)
    }

    /// The connection is gone. What is still wanted is decided after the next `hello`.
    mutating func left() {
        isLive = false
        inFlight = [:]
        sendsAgainAt = nil
        wishes = []
        suspect = suspect ?? request?.suspect
        request = nil
        asksAgainAt = nil
        askFailures = 0
        gapEndsAt = nil
        beatsAt = nil
    }

    // MARK: Frames

    mutating func received(_ frame: ServerFrame, now: Instant) {
        compare(frame, now: now)
        switch frame {
        case .hello(let hello): welcomed(hello, now: now)
        case .message(let message): take([message], now: now)
        case .stored(let place):
            show(timeline.sequence(place.id, place.seq))
            saw(place.id, place.seq, now: now)
        case .ack(let ack): acknowledged(ack, now: now)
        case .sync(let page):
            take(page.messages, now: now)
            if !page.complete { want(.after, now: now) }
        case .history(let page): answered(page, now: now)
        case .want(let wanted): giveBack(wanted)
        case .presence(let presence): counted(presence)
        case .typing(let typing): tell(.typing(from: typing.from))
        case .error(let fault): refused(fault, now: now)
        case .bye, .other: break
        }
    }

    /// Whoever gives a number a second time, or a message a second number, has lost the message
    /// that had the first.
    private mutating func compare(_ frame: ServerFrame, now: Instant) {
        let places = frame.places
        let taken = places.filter { timeline.id(at: $0.seq) ?? $0.id != $0.id }.map(\.seq)
        let left = places.compactMap { place in
            timeline.seq(of: place.id).flatMap { $0 == place.seq ? nil : $0 }
        }
        guard let first = (taken + left).min() else { return }
        timeline.lose(from: first)
        if places.allSatisfy({ $0.seq >= first }) {
            suspect = min(first, suspect ?? first)
            want(.after, now: now)
        }
        tell(.reset(timeline.messages.filter { $0.event == nil }))
    }

    private mutating func giveBack(_ wanted: ServerFrame.Want) {
        if let above = wanted.above { actions.append(.write(timeline.report(above: above))) }
        for text in wanted.ids.prefix(limits.reportedIDs) {
            guard let id = UUID(uuidString: text), let message = timeline[id] else { continue }
            if message.receipt != nil { actions.append(.write(ClientFrame.message(message))) }
        }
    }

    private mutating func counted(_ presence: ServerFrame.Presence) {
        let isCountOnly =
            presence.count > 0 && presence.joined.isEmpty && presence.left.isEmpty
        if isCountOnly || presence.joined.count == presence.count { people = [] }
        people.formUnion(presence.joined)
        people.subtract(presence.left)
        peopleCount = presence.count
        tell(.presence(count: presence.count, joined: presence.joined, left: presence.left))
    }

    private mutating func refused(_ fault: ChatFault, now: Instant) {
        if fault.id != nil {
            sendingRefused(fault, now: now)
        } else if fault.code == "rateLimited" {
            // It does not say which frame was too much: all that wait are sent again.
            readingRefused(fault, now: now)
            sendingRefused(fault, now: now)
        } else if fault.code == "forbidden" || !readingRefused(fault, now: now) {
            tell(.fault(fault))
        }
    }

    // MARK: Time

    /// When ``passed(now:)`` has to be called at the latest; nil while nothing is due.
    var deadline: Instant? {
        // Frames that come before `hello` start nothing yet.
        guard isLive else { return nil }
        let times = [
            beatsAt, gapEndsAt, request?.deadline, asksAgainAt, sendsAgainAt,
            inFlight.values.min(), outbox.queuedAgainAt,
        ]
        return times.compactMap(\.self).min()
    }

    mutating func passed(now: Instant) {
        guard isLive else { return }
        if isDue(request?.deadline, now) || isDue(inFlight.values.min(), now) {
            actions.append(.abandon)
            return
        }
        if isDue(beatsAt, now) {
            actions.append(.write(timeline.beat))
            beatsAt = now + delays.between(heartbeat)
        }
        if isDue(gapEndsAt, now) {
            gapEndsAt = nil
            if timeline.hasGap { want(.after, now: now) }
        }
        if isDue(asksAgainAt, now) {
            asksAgainAt = nil
            ask(now: now)
        }
        if isDue(sendsAgainAt, now) { sendsAgainAt = nil }
        if isDue(outbox.queuedAgainAt, now) { outbox.restart(queuedBefore: now) }
        sendNext(now: now)
    }

    private func isDue(_ time: Instant?, _ now: Instant) -> Bool { time.map { $0 <= now } ?? false }

    mutating func tell(_ event: ChatEvent) { actions.append(.tell(event)) }

    func retryDelay(_ fault: ChatFault) -> Duration? {
        fault.retryAfter.map { min(max(.zero, .milliseconds($0)), limits.longestAbsence) }
    }
}
