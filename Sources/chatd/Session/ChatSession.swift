import FoundationEssentials
import Logging
import NIOCore
import Postgres
import ShardRouter
import Synchronization

/// The conversation with one socket in one room.
///
/// The transport's calls come on the socket's event loop, outcomes of writes and reads on other
/// threads. All that changes is behind one lock, which is never held while the room is called.
final class ChatSession: SocketSession, MemberOwner {
    private struct State {
        var machine: SessionStateMachine
        /// What the user may do in the room; a fresh token may change it.
        var rights: Rights
        var member: Member?
        var room: Room?
        /// What arrived before `hello` was sent; bounded by ``SessionLimits/earlyBytes``.
        var held: [ByteBuffer] = []
    }

    let roomID: RoomID
    let user: String
    private let authenticator: any Authenticator
    let environment: RoomEnvironment
    let directory: RoomDirectory
    private let farewell: @Sendable () -> SessionStateMachine.Ending?
    /// What all rooms of one socket share; nil when this is its only room.
    let bounds: SharedBounds?
    private let state: Mutex<State>

    /// - Parameters:
    ///   - identity: of somebody who may read the room.
    ///   - bounds: of all rooms of the socket together.
    ///   - farewell: why the server takes no more sockets; nil as long as it does.
    init(
        room: RoomID, identity: Identity, authenticator: any Authenticator,
        environment: RoomEnvironment, directory: RoomDirectory, bounds: SharedBounds? = nil,
        farewell: @escaping @Sendable () -> SessionStateMachine.Ending?
    ) {
        self.bounds = bounds
        roomID = room
        user = identity.user
        self.authenticator = authenticator
        self.environment = environment
        self.directory = directory
        self.farewell = farewell
        state = Mutex(
            State(
                machine: SessionStateMachine(
                    limits: environment.limits, now: environment.clock.now(),
                    expiry: identity.expiry(on: environment.clock)),
                rights: identity.rights(in: room)))
    }

    // MARK: What the transport tells

    func opened(_ socket: any SessionSocket) {
        // Where the socket has many rooms, it is counted itself.
        let refusal = environment.allowances.open(
            user: bounds == nil ? user : nil, room: roomID, at: environment.clock.now())
        if let refusal { return turnAway(refusal, socket) }
        let member = Member(
            id: environment.nextMember(), user: user, rights: state.withLock { $0.rights },
            socket: socket, owner: self, since: environment.clock.time(),
            outlet: environment.outlets.outlet(of: socket.eventLoop))
        state.withLock { $0.member = member }
        let room = directory.join(member, to: roomID)
        state.withLock { $0.room = room }
        // Asked after joining: whoever joins later is not among those that stopping tells.
        if let ending = farewell() { end(ending, member) }
    }

    func received(_ text: ByteBuffer) {
        let now = environment.clock.now()
        let (intake, member, room) = state.withLock { state in
            let pendingBytes = state.member?.socket.pendingBytes ?? 0
            let intake = state.machine.received(
                at: now, bytes: text.readableBytes, pendingBytes: pendingBytes)
            if intake == .hold { state.held.append(text) }
            return (intake, state.member, state.room)
        }
        guard let member, let room else { return }
        switch intake {
        case .handle: handle(text, member, room)
        case .hold, .ignore: break
        case .refuse(let refusal): refuse(refusal, id: nil, member)
        case .end(let ending): end(ending, member)
        }
    }

    /// The client leaves the room and keeps the socket; `bye` is the last that it hears of the room.
    func left(saying bye: ByteBuffer) {
        let member = state.withLock { $0.member }
        closed(code: CloseCode.done.rawValue)
        member?.bidFarewell { [socket = member?.socket] in socket?.send(bye) }
    }

    func closed(code: UInt16?) {
        let (isOurs, member, room) = state.withLock { state in
            let isOurs = !state.machine.end()
            defer {
                state.member = nil
                state.room = nil
                state.held = []
            }
            return (isOurs, state.member, state.room)
        }
        guard let member, let room else { return }
        environment.allowances.close(user: bounds == nil ? user : nil, room: roomID)
        // The peer repeats our own code: that is no word of the client.
        room.leave(member, isDeparture: !isOurs && CloseCode.isDeparture(code))
    }

    // MARK: What the room tells

    func welcomed() {
        // On the event loop, where frames arrive: none can come in between.
        let (held, member, room) = state.withLock { state in
            state.machine.welcomed()
            defer { state.held = [] }
            return (state.held, state.member, state.room)
        }
        guard member != nil, room != nil else { return }
        for text in held { received(text) }
    }

    func ticked() {
        let now = environment.clock.now()
        let (ending, member) = state.withLock { state -> (SessionStateMachine.Ending?, Member?) in
            guard let member = state.member else { return (nil, nil) }
            let pendingBytes = member.socket.pendingBytes
            return (state.machine.ticked(at: now, pendingBytes: pendingBytes), member)
        }
        if let ending, let member { end(ending, member) }
    }

    func stop() {
        if let member = state.withLock({ $0.member }) { end(.stopped, member) }
    }

    func dismiss(_ ending: SessionStateMachine.Ending, reconnectAfter: Duration) {
        if let member = state.withLock({ $0.member }) {
            end(ending, member, reconnectAfter: reconnectAfter)
        }
    }

    // MARK: Frames

    private func handle(_ text: ByteBuffer, _ member: Member, _ room: Room) {
        do throws(FrameError) {
            let frame = try ClientFrame.decode(text, limits: environment.limits)
            environment.metrics.received(FrameLabel(frame))
            switch frame {
            case .message(let message):
                guard isAllowed(.write, id: message.id, member) else { break }
                if let mute = room.mute(of: user) {
                    storeAgain(message, member, mute: mute)
                } else {
                    store(message, member)
                }
            case .moderate(let order):
                if isAllowed(.moderate, id: order.id, member) { moderate(order, member) }
            case .answer(let answer): restore(answer, member, room)
            case .heartbeat(let heartbeat):
                if isHandled({ $0.beat(at: $1) }, member) { room.beat(heartbeat, from: member) }
            case .history(let request): readHistory(request, member)
            case .typing:
                guard isAllowed(.write, member) else { break }
                if isHandled({ $0.typing(at: $1) }, member) { room.typing(member) }
            case .token(let token): try renew(token, member)
            }
        } catch {
            environment.metrics.received(.bad)
            refuse(error, member)
        }
    }

    /// Says what is wrong with a frame; too many of them end the connection.
    private func refuse(_ error: FrameError, _ member: Member) {
        member.enqueue(ServerFrame.error(error))
        let now = environment.clock.now()
        let ending = state.withLock { $0.machine.badFrame(at: now) }
        if bounds?.badFrame(at: now) ?? false {
            end(.tooManyErrors, member)
        } else if let ending {
            end(ending, member)
        }
    }

    /// Whether the user has `right` in the room; else he is told that he has not.
    private func isAllowed(_ right: Rights, id: UUID? = nil, _ member: Member) -> Bool {
        if state.withLock({ $0.rights.contains(right) }) { return true }
        if isHandled({ $0.other(at: $1) }, id: id, member) {
            let deed = right == .moderate ? "moderate" : "write"
            member.enqueue(ServerFrame.error(.forbidden, "no right to \(deed) here", id: id))
        }
        return false
    }

    /// Lets the socket live for as long as the fresh token says.
    ///
    /// - Throws: Why the token is not taken. It counts as a bad frame, so that nobody tries many.
    private func renew(_ token: String, _ member: Member) throws(FrameError) {
        guard isHandled({ $0.other(at: $1) }, member) else { return }
        let identity = try authenticator.renewal(
            of: user, by: token, at: environment.clock.time())
        guard renewed(identity), let expiresAt = identity.expiresAt else { return }
        member.enqueue(ServerFrame.token(expiresAt: expiresAt))
    }

    /// The user was proven again; he loses the room when he may not read it any more.
    ///
    /// - Returns: whether he keeps it.
    @discardableResult
    func renewed(_ identity: Identity) -> Bool {
        let rights = identity.rights(in: roomID)
        let expiry = identity.expiry(on: environment.clock)
        let member = state.withLock { state in
            state.machine.renewed(until: expiry)
            state.rights = rights
            return state.member
        }
        if let member, !rights.contains(.read) { end(.noRight, member) }
        return rights.contains(.read)
    }

    func writeEnded() {
        state.withLock { $0.machine.writeEnded() }
    }

    private func restore(_ answer: WantedMessage, _ member: Member, _ room: Room) {
        let id = answer.message.id
        guard isHandled({ $0.answer(at: $1) }, id: id, member) else { return }
        let now = environment.clock.time()
        let message = Message(
            id: id, room: roomID, author: answer.author ?? user, sentAt: answer.message.sentAt,
            receivedAt: min(answer.receivedAt ?? now, now), text: answer.message.text,
            event: answer.event?.json)
        switch room.restore(message, seq: answer.seq, receipt: answer.receipt, from: member) {
        case .begun: break
        case .unasked:
            // It may have been asked for and given too late: no fault of the client.
            member.enqueue(
                ServerFrame.error(.forbidden, "nobody asked for this message (now)", id: id))
        case .forged:
            refuse(
                FrameError(.forbidden, field: "receipt", "not of this message", id: id), member)
        }
    }

    private func readHistory(_ request: HistoryRequest, _ member: Member) {
        guard mayReadPage(member) else { return }
        let isStarted = environment.lanes.start(key: roomID) { [self] in
            let answer: ByteBuffer
            do throws(ReadError) {
                let page = try await environment.history(of: roomID, request)
                answer = ServerFrame.history(
                    page, keepingNewest: request.keepsNewest, receipts: environment.receipts,
                    limits: environment.limits)
            } catch {
                logFailure(of: "reading history", "\(error)")
                answer = ServerFrame.error(error)
            }
            // Who has left may have joined anew by the same socket, and asked for another page.
            if state.withLock({ $0.member === member }) { member.enqueue(answer) }
            pageEnded()
        }
        if !isStarted {
            member.enqueue(ServerFrame.error(ReadError.stopped))
            pageEnded()
        }
    }

    /// Whether a page may be read now; ``pageEnded()`` must follow.
    private func mayReadPage(_ member: Member) -> Bool {
        isHandled(
            { [bounds, limits = environment.limits.session] machine, now in
                let intake = machine.history(at: now)
                guard intake == .handle, let bounds, !bounds.page() else { return intake }
                machine.historyEnded()
                return machine.refuse(.overloaded, limits.overloadedRetryAfter, now)
            }, member)
    }

    private func pageEnded() {
        state.withLock { $0.machine.historyEnded() }
        bounds?.pageEnded()
    }

    /// Asks the machine what to do with a frame; when it is not to be handled, does what is to be
    /// done instead.
    func isHandled(
        _ ask: (inout SessionStateMachine, SessionStateMachine.Instant) ->
            SessionStateMachine.Intake,
        id: UUID? = nil, _ member: Member
    ) -> Bool {
        let now = environment.clock.now()
        switch state.withLock({ ask(&$0.machine, now) }) {
        case .handle: return true
        case .hold, .ignore: return false
        case .refuse(let refusal):
            refuse(refusal, id: id, member)
            return false
        case .end(let ending):
            end(ending, member)
            return false
        }
    }

    private func refuse(_ refusal: SessionStateMachine.Refusal, id: UUID?, _ member: Member) {
        member.enqueue(ServerFrame.refusal(refusal, id: id))
    }

    /// Says why, and closes the socket.
    ///
    /// - Parameter reconnectAfter: drawn when it is nil.
    private func end(
        _ ending: SessionStateMachine.Ending, _ member: Member, reconnectAfter: Duration? = nil
    ) {
        guard state.withLock({ $0.machine.end() }) else { return }
        let farewell = environment.farewell(ending, reconnectAfter: reconnectAfter)
        member.bidFarewell { [socket = member.socket] in socket.end(farewell) }
    }

    /// Closes a socket that has not joined.
    private func turnAway(_ ending: SessionStateMachine.Ending, _ socket: any SessionSocket) {
        _ = state.withLock { $0.machine.end() }
        socket.end(environment.farewell(ending))
    }

    func logFailure(of what: StaticString, _ error: String) {
        environment.logger.debug(
            "A request of a socket failed.",
            metadata: ["room.id": "\(roomID)", "action": "\(what)", "error": "\(error)"])
    }
}
