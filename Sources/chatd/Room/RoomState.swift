import FoundationEssentials
import NIOCore
import Postgres

/// Everything that a room knows and decides: events go in, actions come out, in the order in which
/// they are to be done. No clock, no socket, no waiting.
struct RoomState: Sendable {
    typealias Instant = ContinuousClock.Instant

    struct Member {
        var user: String
        var joinedOrdinal: UInt64
        var joinedAt: Timestamp
        /// The server ends the socket: its user does not stay.
        var isDismissed = false
        var lastSync: HeartbeatAnswer.Sync?
    }

    /// A socket that waits for the window to be filled.
    private struct Joiner {
        var id: MemberID
        var user: String
        var since: Instant
    }

    let limits: ChatLimits
    var window: Window
    private(set) var presence: Presence
    private var news: PresenceNews
    var reads: ReadPlan
    var wants: WantPlan
    /// Clients that say they have more than this window knows, until the shard was read.
    var claims: [MemberID: Claim] = [:]
    var members: [MemberID: Member] = [:]
    /// Who may not write, or not be here.
    var sanctions = Sanctions()
    /// Messages that events have deleted, with the places of those, as far as the window covers.
    var deletions: [UUID: Int64] = [:]
    /// What the clock shows, as of the last event.
    var time = Timestamp(microsecondsSince1970: 0)
    private var joiners: [Joiner] = []
    /// Messages that came before those that precede them.
    var arrivals: Arrivals
    /// Messages delivered so far.
    var ordinal: UInt64 = 0
    private var telling: PresenceTelling
    private var idleSince: Instant?
    private var isDeaf = false

    /// - Parameter server: this server among all, drawn anew at each start.
    init(server: UUID, limits: ChatLimits, now: Instant) {
        self.limits = limits
        window = Window(limits: limits.room.window)
        presence = Presence(limits: limits.room)
        news = PresenceNews(limits: limits)
        telling = PresenceTelling(server: server, limits: limits, now: now)
        reads = ReadPlan(limits: limits.room)
        arrivals = Arrivals(limits: limits.room)
        wants = WantPlan(limits: limits.room.want)
        idleSince = now
    }

    /// For how long nobody has been here; nil while somebody is.
    func idleTime(now: Instant) -> Duration? {
        idleSince.map { now - $0 }
    }

    /// Whether nothing waits here for a moment that is nearer than a beat.
    var isCalm: Bool {
        joiners.isEmpty && arrivals.newest == nil && !window.hasGap && presence.changes.isEmpty
            && !isDeaf && reads.isCalm && wants.isCalm
    }

    /// The frame with everybody who is here.
    func wholePresence() -> PresenceNews.Frame {
        news.whole(of: presence)
    }

    // MARK: Sockets of this server

    /// A socket of `user` wants to come in. It is welcomed at once when the window is filled
    /// (or is known not to be for now), else after the first read, or when
    /// ``RoomLimits/joinPatience`` is over.
    mutating func join(_ id: MemberID, user: String, now: Instant) -> [Action] {
        var actions: [Action] = []
        idleSince = nil
        if window.isAnchored || reads.isFailing {
            welcome(id, user: user, now, &actions)
        } else {
            joiners.append(Joiner(id: id, user: user, since: now))
        }
        considerReading(now, &actions)
        return actions
    }

    /// A socket is gone.
    mutating func leave(_ id: MemberID, isDeparture: Bool, now: Instant) -> [Action] {
        var actions: [Action] = []
        joiners.removeAll { $0.id == id }
        wants.left(id)
        claims[id] = nil
        if let member = members.removeValue(forKey: id) {
            if presence.closed(member.user, isDeparture: isDeparture || member.isDismissed),
                let event = telling.left(member.user)
            {
                actions.append(.publish(event))
            }
            tellPresence(now, &actions)
        }
        if members.isEmpty && joiners.isEmpty && idleSince == nil { idleSince = now }
        return actions
    }

    /// A heartbeat arrived.
    ///
    /// - Parameters:
    ///   - skippedOrdinal: the last message that was not written to the socket because it was slow.
    ///   - canVerify: whether receipts can be checked, so that lost messages can be asked for.
    ///   - isSlow: whether so much is waiting in the socket that an answer would only add to it.
    mutating func beat(
        _ report: Heartbeat.Report, from id: MemberID, skippedOrdinal: UInt64, isSlow: Bool,
        roundTrip: Duration?, canVerify: Bool = false, now: Instant
    ) -> [Action] {
        guard let member = members[id] else { return [] }
        var actions: [Action] = []
        if presence.seen(member.user, now: now) { publishPresence(of: member.user, &actions) }
        tellPresence(now, &actions)
        note(report, from: id, canVerify: canVerify, now)
        let reader = HeartbeatAnswer.Reader(
            user: member.user, joinedOrdinal: member.joinedOrdinal, skippedOrdinal: skippedOrdinal,
            lastSync: member.lastSync, roundTrip: roundTrip)
        if !isSlow,
            let answer = HeartbeatAnswer.answer(
                to: report, from: reader, window: window, now: now, limits: limits)
        {
            members[id]?.lastSync = HeartbeatAnswer.Sync(
                newest: answer.missing.last?.seq ?? 0, ordinal: ordinal, writtenAt: now)
            let frames = answer.missing.map(\.frame)
            actions.append(
                .send(ServerFrame.sync(frames, isComplete: answer.isComplete), to: id))
        }
        considerReading(now, &actions)
        considerAsking(now, &actions)
        return actions
    }

    /// A socket's user is writing.
    func typing(_ id: MemberID) -> [Action] {
        guard let user = members[id]?.user, sanctions.mute(of: user, at: time) == nil else {
            return []
        }
        return [
            .deliver(ServerFrame.typing(from: user), .typing, except: id),
            .publish(.typing(user: user)),
        ]
    }

    // MARK: Messages

    /// A shard has committed a message that came to this server.
    ///
    /// A message that the window has, or that is older than the window, was relayed before.
    ///
    /// - Parameter ack: the answer for the author's socket, which goes first.
    mutating func stored(
        seq: Int64, id: UUID, author: String, frame: ByteBuffer, event: ModerationEvent? = nil,
        ack: (frame: ByteBuffer, member: MemberID)?, now: Instant
    ) -> [Action] {
        var actions: [Action] = []
        reads.heardShard(now: now)
        if let ack { actions.append(.send(ack.frame, to: ack.member)) }
        let told = RoomEvent.message(
            seq: seq, id: id, author: author, frame: showable(frame, of: id), event: event)
        arrivals.add(told, seq: seq, isCommitted: true, now: now)
        admit(now, &actions)
        if arrivals.newest != nil { considerReading(now, &actions) }
        return actions
    }

    /// A write ended without a word whether it was done: what it may have left must be read.
    mutating func lostTrack(now: Instant) -> [Action] {
        reads.missedSomething()
        var actions: [Action] = []
        considerReading(now, &actions)
        return actions
    }

    // MARK: Other servers

    mutating func heard(_ event: RoomEvent, now: Instant) -> [Action] {
        var actions: [Action] = []
        switch event {
        case .message(let seq, _, _, _, _):
            arrivals.add(event, seq: seq, isCommitted: false, now: now)
            admit(now, &actions)
        case .present(let users, let server, let head):
            for (user, remaining) in users {
                presence.heard(of: user, from: server, remaining: remaining, now: now)
            }
            if head > window.head { reads.heard(of: head, isUrgent: false, now: now) }
            tellPresence(now, &actions)
        case .counted(let count, let server, let head):
            presence.heard(count: count, from: server, now: now)
            if head > window.head { reads.heard(of: head, isUrgent: false, now: now) }
            tellPresence(now, &actions)
        case .departed(let user, let server):
            presence.heardDeparture(of: user, from: server)
            tellPresence(now, &actions)
        case .typing(let user):
            actions.append(.deliver(ServerFrame.typing(from: user), .typing))
        case .wanting(let ids):
            wants.othersAsk(for: ids, now: now)
        case .asked:
            telling.asked(now: now)
            tellServers(now, &actions)
        }
        considerReading(now, &actions)
        return actions
    }

    /// From now on the other servers are heard; what they said before was missed.
    mutating func subscribed(now: Instant) -> [Action] {
        reads.missedSomething()
        var actions: [Action] = [.publish(.asked)]
        telling.began(now: now)
        tellServers(now, &actions)
        considerReading(now, &actions)
        return actions
    }

    // MARK: The shard

    /// The newest messages were read.
    ///
    /// - Parameter isWhole: whether the room has nothing older.
    mutating func filled(
        _ messages: [ReadMessage], head: Int64, isWhole: Bool, sanctions: Sanctions = Sanctions(),
        now: Instant
    ) -> [Action] {
        // At first use nobody has been told anything, and who comes in is told by heartbeats.
        let isFirst = !window.isAnchored
        let page = messages.map { entry($0, isDelivered: !isFirst, now) }
        let added = window.anchor(page, head: head, isWhole: isWhole)
        var actions: [Action] = []
        if !isFirst { actions += added.map { .deliver($0.frame, .message(ordinal: $0.ordinal)) } }
        for message in messages {
            guard let event = message.event else { continue }
            let isNew = added.contains { $0.seq == message.seq }
            obey(event, seq: message.seq, isNew: isNew, &actions)
        }
        learn(sanctions, head: head, &actions)
        settleClaims(now)
        reads.succeeded(isComplete: true, now: now)
        admit(now, &actions)
        for joiner in joiners { welcome(joiner.id, user: joiner.user, now, &actions) }
        joiners = []
        considerReading(now, &actions)
        return actions
    }

    /// What follows the window's head was read.
    ///
    /// - Parameters:
    ///   - after: the window's head when the read was decided.
    ///   - target: the newest message that was known then.
    mutating func caughtUp(
        _ messages: [ReadMessage], after: Int64 = 0, target: Int64, head: Int64, isComplete: Bool,
        now: Instant
    ) -> [Action] {
        if head < after, window.head >= after { return rewound(to: head, now: now) }
        var actions: [Action] = []
        for message in messages {
            let entry = entry(message, isDelivered: true, now)
            switch window.insert(entry) {
            case .inserted: break
            case .known, .old: continue
            case .contradicted: window.replace(with: entry)
            }
            wants.appeared(entry.id)
            actions.append(.deliver(entry.frame, .message(ordinal: entry.ordinal)))
            if let event = message.event { obey(event, seq: entry.seq, &actions) }
        }
        let last = messages.last?.seq ?? 0
        window.settle(upTo: isComplete ? max(target, head, last) : last)
        if isComplete { settleClaims(now) }
        reads.succeeded(isComplete: isComplete || messages.isEmpty, now: now)
        admit(now, &actions)
        considerReading(now, &actions)
        considerAsking(now, &actions)
        return actions
    }

    /// The shard could not be read.
    mutating func readFailed(now: Instant) -> [Action] {
        reads.failed(now: now)
        var actions: [Action] = []
        admit(now, &actions)
        return actions
    }

    /// The shard has less than this window has: it was wound back, and nobody has written since.
    /// Who has the lost messages says so with the next heartbeat, and is asked for them.
    private mutating func rewound(to head: Int64, now: Instant) -> [Action] {
        window.rewind(to: head)
        reads.succeeded(isComplete: true, now: now)
        reads.contradicted()
        var actions: [Action] = []
        considerReading(now, &actions)
        return actions
    }

    // MARK: Time

    /// Time has passed.
    ///
    /// - Parameter isDeaf: whether other servers cannot be heard.
    mutating func tick(now: Instant, isDeaf: Bool) -> [Action] {
        var actions: [Action] = []
        self.isDeaf = isDeaf
        window.trim(now: now)
        forgetDeletions()
        admit(now, &actions)
        presence.expire(now: now)
        let patience = limits.room.joinPatience
        while let joiner = joiners.first, now - joiner.since >= patience {
            joiners.removeFirst()
            welcome(joiner.id, user: joiner.user, now, &actions)
        }
        tellServers(now, &actions)
        tellPresence(now, &actions)
        considerReading(now, &actions)
        considerAsking(now, &actions)
        return actions
    }
}

// MARK: - Steps

extension RoomState {
    private mutating func welcome(
        _ id: MemberID, user: String, _ now: Instant, _ actions: inout [Action]
    ) {
        if let bar = sanctions.bar(of: user, at: time) {
            return actions.append(.dismiss(id, .barred(until: bar.until)))
        }
        let isNew = presence.opened(user, now: now)
        if isNew { publishPresence(of: user, &actions) }
        // The others hear of the newcomer; he gets the whole list instead.
        tellPresence(now, &actions)
        members[id] = Member(user: user, joinedOrdinal: ordinal, joinedAt: time)
        actions.append(
            .welcome(
                id,
                Welcome(
                    head: window.newest, headID: window.newestID, isWarm: window.isAnchored,
                    presence: news.whole(of: presence))))
    }

    private mutating func entry(
        _ message: ReadMessage, isDelivered: Bool, _ now: Instant
    ) -> Window.Entry {
        if isDelivered { ordinal += 1 }
        return Window.Entry(
            seq: message.seq, id: message.id, author: message.author,
            frame: showable(message.frame, of: message.id), arrivedAt: now - message.age,
            ordinal: isDelivered ? ordinal : 0, writtenAt: now)
    }

    private mutating func tellPresence(_ now: Instant, _ actions: inout [Action]) {
        guard !members.isEmpty else { return news.skip(&presence) }
        guard let frame = news.due(&presence, now: now) else { return }
        actions.append(.deliver(frame.encoded, .presence))
    }

    private func publishPresence(of user: String, _ actions: inout [Action]) {
        guard let event = telling.came(user, presence: presence, head: window.head) else { return }
        actions.append(.publish(event))
    }

    /// Publishes who is here, when that is due.
    private mutating func tellServers(_ now: Instant, _ actions: inout [Action]) {
        for event in telling.due(presence: presence, head: window.head, now: now) {
            actions.append(.publish(event))
        }
    }

    mutating func considerReading(_ now: Instant, _ actions: inout [Action]) {
        let isNeeded = !members.isEmpty || !joiners.isEmpty
        let request = reads.next(
            now: now, window: window, isNeeded: isNeeded, isDeaf: isDeaf,
            waiting: arrivals.newest)
        if let request { actions.append(.read(request)) }
    }
}
