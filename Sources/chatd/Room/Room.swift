import CoreMetrics
import Logging
import NIOCore
import Postgres
import ShardRouter
import Synchronization
import Tracing

/// A room of this server: its state, its sockets, and what must be done about them.
///
/// The state is touched under a lock and left; nothing waits inside. Actions are done under the
/// same lock, which gives the room one order: what one socket is sent before another frame, all
/// are. None of them waits either: frames are handed to event loops, events to pub/sub, reads to
/// the lanes.
final class Room: Sendable {
    private struct Contents {
        var state: RoomState
        var audience = Audience()
        /// All sockets, those that wait to be welcomed included.
        var members: [MemberID: Member] = [:]

        /// The author's ack. Who has left, and kept the socket for other rooms, is sent it at once.
        func ack(
            _ message: StoredMessage, _ receipt: String?, _ author: Member?
        ) -> (frame: ByteBuffer, member: MemberID)? {
            guard let author else { return nil }
            let frame = ServerFrame.ack(
                id: message.message.id, seq: message.seq, receipt: receipt)
            if members[author.id] != nil { return (frame, author.id) }
            author.enqueue(frame)
            return nil
        }
    }

    let id: RoomID
    let environment: RoomEnvironment
    /// Ticks by which the room's turns are off, so that not all rooms have theirs together.
    let phase: Int
    private let contents: Mutex<Contents>
    /// What clients have given back and is not stored yet.
    let answers = Mutex(Answers())

    init(id: RoomID, environment: RoomEnvironment) {
        self.id = id
        self.environment = environment
        phase = Int(environment.draw(0...Int64(environment.limits.room.memberTicks - 1)))
        var limits = environment.limits
        // Rooms that were filled together, as after a restart, are not compared together.
        limits.room.quietReadInterval =
            limits.room.quietReadInterval * Double(environment.draw(100...150)) / 100
        let state = RoomState(
            server: environment.instance, limits: limits, now: environment.clock.now())
        contents = Mutex(Contents(state: state))
    }

    // MARK: Sockets

    func join(_ member: Member) {
        perform { contents, now in
            contents.members[member.id] = member
            return contents.state.join(member.id, user: member.user, now: now)
        }
    }

    /// - Parameter isDeparture: whether the client closed the socket on purpose.
    func leave(_ member: Member, isDeparture: Bool) {
        perform { contents, now in
            contents.members[member.id] = nil
            contents.audience.remove(member)
            return contents.state.leave(member.id, isDeparture: isDeparture, now: now)
        }
    }

    func beat(_ heartbeat: Heartbeat, from member: Member) {
        let isSlow = member.socket.pendingBytes > environment.limits.session.pendingBytes
        let roundTrip = member.socket.roundTrip
        perform { contents, now in
            let actions = contents.state.beat(
                heartbeat.report, from: member.id, skippedOrdinal: member.skippedOrdinal,
                isSlow: isSlow, roundTrip: roundTrip, canVerify: environment.receipts.isReady,
                now: now)
            if actions.contains(where: \.isSend) {
                environment.metrics.syncs.increment()
                // Perhaps the way has become longer, and what it lacks is on it.
                member.socket.measureRoundTrip()
            }
            return actions
        }
    }

    func typing(_ member: Member) {
        perform { contents, _ in contents.state.typing(member.id) }
    }

    // MARK: Messages

    /// A shard has committed `message`: its author gets the ack, and everybody the message.
    func stored(
        _ message: StoredMessage, frame: ByteBuffer, receipt: String?, author: Member?
    ) {
        let event = message.message.moderation
        perform { contents, now in
            contents.state.stored(
                seq: message.seq, id: message.message.id, author: message.message.author,
                frame: frame, event: event, ack: contents.ack(message, receipt, author), now: now)
        }
    }

    /// A message that came to this server had been stored before: its author gets the ack.
    func repeated(_ message: StoredMessage, receipt: String?, author: Member?) {
        perform { contents, now in
            contents.state.repeated(
                seq: message.seq, id: message.message.id,
                ack: contents.ack(message, receipt, author), now: now)
        }
    }

    /// A write ended without a word whether it was done.
    func lostTrack() {
        perform { contents, now in contents.state.lostTrack(now: now) }
    }

    // MARK: Other servers

    func heard(_ event: RoomEvent) {
        perform { contents, now in contents.state.heard(event, now: now) }
    }

    func subscribed() {
        perform { contents, now in contents.state.subscribed(now: now) }
    }

    // MARK: Time

    /// Whether nothing waits for a moment that is nearer than a beat.
    var isCalm: Bool { contents.withLock { $0.state.isCalm } }

    func tick(isDeaf: Bool) {
        perform { contents, now in contents.state.tick(now: now, isDeaf: isDeaf) }
    }

    /// Looks after the sockets; every few ticks.
    func tickMembers() {
        let bytes = environment.limits.session.pendingBytes
        let members = contents.withLock { contents in
            for member in contents.members.values
            where member.takesPresenceAgain(pendingBytes: bytes) {
                member.enqueue(contents.state.wholePresence().encoded)
            }
            return Array(contents.members.values)
        }
        for member in members { member.owner.ticked() }
    }

    func stopMembers() {
        for member in allMembers { member.owner.stop() }
    }

    /// All sockets, those that wait to be welcomed included.
    var allMembers: [Member] { contents.withLock { Array($0.members.values) } }

    var summary: RoomSummary {
        contents.withLock { contents in
            let window = contents.state.window
            return RoomSummary(
                room: id, sockets: contents.members.count, head: window.head,
                windowMessages: window.entries.count, windowBytes: window.bytes)
        }
    }

    /// For how long nobody has been here; nil while somebody is.
    func idleTime() -> Duration? {
        let now = environment.clock.now()
        return contents.withLock { $0.state.idleTime(now: now) }
    }

    // MARK: Actions

    /// Tells the state what has happened, and does what it wants done.
    func perform(_ event: (inout RoomState, ContinuousClock.Instant) -> [RoomState.Action]) {
        perform { contents, now in event(&contents.state, now) }
    }

    /// Asks the state without anything to be done.
    func ask<Answer>(_ question: (inout RoomState) -> Answer) -> Answer {
        contents.withLock { question(&$0.state) }
    }

    private func perform(
        _ event: (inout Contents, ContinuousClock.Instant) -> [RoomState.Action]
    ) {
        let (now, time) = (environment.clock.now(), environment.clock.time())
        contents.withLock { contents in
            contents.state.time = time
            for action in event(&contents, now) { perform(action, &contents) }
        }
    }

    private func perform(_ action: RoomState.Action, _ contents: inout Contents) {
        switch action {
        case .welcome(let id, let welcome):
            guard let member = contents.members[id] else { return }
            greet(member, welcome)
            contents.audience.add(member)
        case .deliver(let frame, let delivery, let except):
            environment.metrics.deliveries.increment(by: contents.audience.count(except: except))
            contents.audience.deliver(
                frame, delivery, except: except,
                pendingBytes: environment.limits.session.pendingBytes)
        case .send(let frame, let id):
            contents.members[id]?.enqueue(frame)
        case .publish(let event):
            environment.publish(event, to: id)
        case .want(let ids, let above, let id):
            environment.metrics.wants.increment()
            contents.members[id]?.enqueue(ServerFrame.want(ids, above: above))
        case .lookUp(let ids):
            environment.lanes.start(key: id) { await self.lookUp(ids) }
        case .dismiss(let id, let ending):
            guard let member = contents.members[id] else { return }
            // Behind the frames before it, and without the lock.
            member.socket.eventLoop.execute { [delay = environment.reconnectDelay()] in
                member.owner.dismiss(ending, reconnectAfter: delay)
            }
        case .read(let request):
            environment.lanes.start(key: id) { await self.read(request) }
        }
    }

    private func greet(_ member: Member, _ welcome: RoomState.Welcome) {
        let hello = ServerFrame.hello(
            ServerFrame.Hello(
                server: environment.serverName, room: member.socket.namesRoom ? nil : id,
                user: member.user,
                time: environment.clock.time(), head: welcome.head, headID: welcome.headID,
                isWarm: welcome.isWarm, rights: member.rights),
            limits: environment.limits)
        member.outlet.enqueue(.greeting([hello, welcome.presence.encoded], member))
    }
}

// MARK: - Reading the shard

extension Room {
    private func read(_ request: ReadPlan.Request) async {
        environment.metrics.windowReads.increment()
        let span = environment.tracing.start("chatd.window.read", room: id)
        await within(span) {
            do throws(ReadError) {
                switch request {
                case .newest:
                    try await fill()
                case .after(let seq, let target):
                    try await catchUp(after: seq, target: target)
                }
            } catch {
                span?.recordError(error)
                failed(error)
            }
        }
        span?.end()
    }

    private func failed(_ error: ReadError) {
        environment.logger.debug(
            "The messages of a room cannot be read; it will be tried again.",
            metadata: ["room.id": "\(id)", "error": "\(error)"])
        perform { contents, now in contents.state.readFailed(now: now) }
    }

    /// Reads back from the newest message to what the window is to cover.
    private func fill() async throws(ReadError) {
        let limits = environment.limits.room
        var messages: [StoredMessage] = []
        var page = try await history(before: nil, limit: limits.window.keptMessages * 2)
        let head = page.head
        messages = page.messages
        while !page.isComplete, messages.count < limits.fillMessages, let oldest = messages.first,
            age(of: oldest.message) < limits.window.age
        {
            page = try await history(before: oldest.seq, limit: limits.readMessages)
            guard !page.messages.isEmpty else { break }
            messages = page.messages + messages
        }
        let read = messages.map(readMessage)
        let isWhole = page.isComplete
        let sanctions = try await environment.store.sanctions(of: id, patience: limits.readPatience)
        perform { contents, now in
            contents.state.filled(
                read, head: head, isWhole: isWhole, sanctions: sanctions, now: now)
        }
    }

    private func catchUp(after seq: Int64, target: Int64) async throws(ReadError) {
        let page = try await environment.store.history(
            of: id, before: nil, after: seq, limit: environment.limits.room.readMessages,
            patience: environment.limits.room.readPatience)
        let read = page.messages.map(readMessage)
        perform { contents, now in
            contents.state.caughtUp(
                read, after: seq, target: target, head: page.head, isComplete: page.isComplete,
                now: now)
        }
    }

    private func history(before: Int64?, limit: Int) async throws(ReadError) -> HistoryPage {
        try await environment.store.history(
            of: id, before: before, after: nil, limit: limit,
            patience: environment.limits.room.readPatience)
    }

    private func readMessage(_ stored: StoredMessage) -> RoomState.ReadMessage {
        RoomState.ReadMessage(
            seq: stored.seq, id: stored.message.id, author: stored.message.author,
            frame: ServerFrame.message(
                stored, receipt: environment.receipts.receipt(for: stored.message),
                limits: environment.limits),
            age: age(of: stored.message), event: stored.message.moderation)
    }

    /// How long ago a server received the message; at most a day, which is old enough.
    private func age(of message: Message) -> Duration {
        let now = environment.clock.time().microsecondsSince1970
        let (age, overflow) = now.subtractingReportingOverflow(
            message.receivedAt.microsecondsSince1970)
        let day: Int64 = 86_400_000_000
        return .microseconds(overflow ? day : min(max(age, 0), day))
    }
}
