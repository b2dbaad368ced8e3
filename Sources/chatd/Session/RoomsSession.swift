import FoundationEssentials
import NIOCore
import Postgres
import ShardRouter
import Synchronization

/// The conversation with one socket that carries many rooms.
///
/// Each room that is joined gets a ``ChatSession`` of its own, with a ``RoomSocket`` in place of
/// the socket: it knows nothing of the others. Here frames find their room, rooms come and go, and
/// what concerns the whole socket is looked after. What ends a room alone is said by
/// ``SessionStateMachine/Ending/isOfRoom``; anything else ends the socket.
final class RoomsSession: SocketSession {
    private struct Seat {
        var session: ChatSession
        var socket: RoomSocket
    }

    private struct State {
        var machine: RoomsStateMachine
        /// A fresh token may change what he may do.
        var identity: Identity
        var socket: (any SessionSocket)?
        /// At most ``SessionLimits/roomsPerSocket``.
        var seats: [RoomID: Seat] = [:]
    }

    private let id: MemberID
    private let since: Timestamp
    private let user: String
    private let authenticator: any Authenticator
    private let environment: RoomEnvironment
    private let registry: RoomsSessionRegistry
    private let farewell: @Sendable () -> SessionStateMachine.Ending?
    private let makeSession: @Sendable (RoomID, Identity, SharedBounds) -> ChatSession?
    private let bounds: SharedBounds
    private let state: Mutex<State>

    /// - Parameters:
    ///   - farewell: why the server takes no more sockets; nil as long as it does.
    ///   - makeSession: the session of one room; nil when the server is gone.
    init(
        identity: Identity, authenticator: any Authenticator, environment: RoomEnvironment,
        registry: RoomsSessionRegistry,
        farewell: @escaping @Sendable () -> SessionStateMachine.Ending?,
        makeSession: @escaping @Sendable (RoomID, Identity, SharedBounds) -> ChatSession?
    ) {
        id = environment.nextMember()
        since = environment.clock.time()
        user = identity.user
        self.authenticator = authenticator
        self.environment = environment
        self.registry = registry
        self.farewell = farewell
        self.makeSession = makeSession
        bounds = SharedBounds(limits: environment.limits)
        state = Mutex(
            State(
                machine: RoomsStateMachine(
                    limits: environment.limits.session, now: environment.clock.now(),
                    expiry: identity.expiry(on: environment.clock)),
                identity: identity))
    }

    // MARK: What the transport tells

    func opened(_ socket: any SessionSocket) {
        let refusal = environment.allowances.open(
            user: user, room: nil, at: environment.clock.now())
        if let refusal { return socket.end(environment.farewell(refusal)) }
        state.withLock { $0.socket = socket }
        registry.add(self)
        // Asked after that: whoever comes later is not among those that stopping tells.
        if let ending = farewell() { end(ending) }
    }

    func received(_ text: ByteBuffer) {
        let now = environment.clock.now()
        let (intake, socket) = state.withLock { state in
            let pendingBytes = state.socket?.pendingBytes ?? 0
            return (state.machine.received(at: now, pendingBytes: pendingBytes), state.socket)
        }
        guard let socket else { return }
        switch intake {
        case .handle: handle(text, socket)
        case .hold, .ignore: break
        case .refuse(let refusal): send(ServerFrame.refusal(refusal), socket)
        case .end(let ending): end(ending)
        }
    }

    func closed(code: UInt16?) {
        registry.remove(self)
        let (seats, isOurs, isCounted) = state.withLock { state in
            defer {
                state.seats = [:]
                state.socket = nil
            }
            return (state.seats, !state.machine.end(), state.socket != nil)
        }
        if isCounted { environment.allowances.close(user: user, room: nil) }
        // The peer repeats our own code: that is no word of the client.
        for seat in seats.values { seat.session.closed(code: isOurs ? nil : code) }
    }

    // MARK: What the server tells

    /// The loop of the socket; nil when it is closed.
    var eventLoop: (any EventLoop)? { state.withLock { $0.socket?.eventLoop } }

    /// About two seconds have passed: ``RoomLimits/memberTicks``.
    func ticked() {
        let now = environment.clock.now()
        if let ending = state.withLock({ $0.machine.ticked(at: now) }) { end(ending) }
    }

    func stop() { end(.stopped) }

    func dismiss(_ ending: SessionStateMachine.Ending, reconnectAfter: Duration) {
        end(ending, reconnectAfter: reconnectAfter)
    }

    // MARK: What operators see

    /// The socket; nil when it is closed, or not in `room`.
    ///
    /// - Parameter room: which of its rooms is asked for; nil: all of them.
    func summary(in room: RoomID?) -> SocketSummary? {
        let (socket, seat, count) = state.withLock { state in
            (state.socket, room.flatMap { state.seats[$0] }, state.seats.count)
        }
        guard let socket, room == nil || seat != nil else { return nil }
        return SocketSummary(
            id: id, user: user, room: room, rooms: count, address: socket.clientAddress,
            waitingBytes: socket.pendingBytes, since: since
        ) { [self] ending, delay in
            if let seat {
                seat.session.dismiss(ending, reconnectAfter: delay)
            } else {
                dismiss(ending, reconnectAfter: delay)
            }
        }
    }

    // MARK: Frames

    private func handle(_ text: ByteBuffer, _ socket: any SessionSocket) {
        var room: RoomID?
        do throws(FrameError) {
            let address = try FrameAddress.read(text)
            room = address.room
            switch address.kind {
            case .join:
                environment.metrics.received(.join)
                try join(try Self.named(address), socket)
            case .leave:
                environment.metrics.received(.leave)
                try leave(try Self.named(address))
            case .token:
                environment.metrics.received(.token)
                try renew(text, socket)
            case .beat where address.room == nil:
                // Who is in no room has nothing to tell but that.
                guard case .heartbeat = try ClientFrame.decode(text, limits: environment.limits)
                else { return }
                environment.metrics.received(.heartbeat)
                alive()
            case .beat:
                alive()
                try seat(address).session.received(text)
            case .other:
                try seat(address).session.received(text)
            }
        } catch {
            environment.metrics.received(.bad)
            send(ServerFrame.error(error), socket, in: room)
            let now = environment.clock.now()
            if bounds.badFrame(at: now) { end(.tooManyErrors) }
        }
    }

    private func alive() {
        let now = environment.clock.now()
        state.withLock { $0.machine.beat(at: now) }
    }

    private static func named(_ address: FrameAddress) throws(FrameError) -> RoomID {
        guard let room = address.room else {
            throw FrameError(.badRoom, field: "room", "missing", id: address.id)
        }
        return room
    }

    private func seat(_ address: FrameAddress) throws(FrameError) -> Seat {
        let room = try Self.named(address)
        guard let seat = state.withLock({ $0.seats[room] }) else {
            throw FrameError(
                .badRoom, field: "room", "not joined: send a join frame first", id: address.id)
        }
        return seat
    }

    // MARK: Rooms

    private func join(_ room: RoomID, _ socket: any SessionSocket) throws(FrameError) {
        let now = environment.clock.now()
        let (intake, identity, isJoined, count) = state.withLock { state in
            (
                state.machine.join(at: now), state.identity, state.seats[room] != nil,
                state.seats.count
            )
        }
        switch intake {
        case .handle: break
        case .hold, .ignore: return
        case .refuse(let refusal): return send(ServerFrame.refusal(refusal), socket, in: room)
        case .end(let ending): return end(ending)
        }
        guard !isJoined else { throw FrameError(.badRoom, field: "room", "joined already") }
        let most = environment.limits.session.roomsPerSocket
        guard count < most else {
            throw FrameError(
                .badRoom, field: "room",
                "at most \(most) rooms on one socket: leave one, or open another socket")
        }
        guard identity.rights(in: room).contains(.read) else {
            return send(environment.farewell(.noRight).bye, socket, in: room)
        }
        guard let session = makeSession(room, identity, bounds) else { return }
        let roomSocket = RoomSocket(socket, room: room) { [weak self] socket, farewell in
            self?.ended(socket, farewell)
        }
        state.withLock { $0.seats[room] = Seat(session: session, socket: roomSocket) }
        session.opened(roomSocket)
    }

    /// What is on its way to the room is done, and acknowledged.
    private func leave(_ room: RoomID) throws(FrameError) {
        guard let seat = state.withLock({ $0.seats.removeValue(forKey: room) }) else {
            throw FrameError(.badRoom, field: "room", "not joined")
        }
        seat.session.left(saying: environment.bye(.done, "left", reconnectAfter: .zero))
    }

    /// Lets the socket live for as long as the fresh token says, in the rooms that it allows.
    private func renew(_ text: ByteBuffer, _ socket: any SessionSocket) throws(FrameError) {
        guard case .token(let token) = try ClientFrame.decode(text, limits: environment.limits)
        else { return }
        let identity = try authenticator.renewal(
            of: user, by: token, at: environment.clock.time())
        let expiry = identity.expiry(on: environment.clock)
        let seats = state.withLock { state in
            state.identity = identity
            state.machine.renewed(until: expiry)
            return Array(state.seats.values)
        }
        if let expiresAt = identity.expiresAt {
            send(ServerFrame.token(expiresAt: expiresAt), socket)
        }
        for seat in seats { seat.session.renewed(identity) }
    }

    // MARK: Ends

    /// A room's session has ended. On the event loop.
    private func ended(_ socket: RoomSocket, _ farewell: Farewell) {
        guard farewell.isOfRoom else { return finish(farewell) }
        // The room may have been left, and joined anew, in the meantime.
        let seat = state.withLock { state -> Seat? in
            guard state.seats[socket.room]?.socket === socket else { return nil }
            return state.seats.removeValue(forKey: socket.room)
        }
        guard let seat else { return }
        socket.send(farewell.bye)
        seat.session.closed(code: nil)
    }

    private func end(_ ending: SessionStateMachine.Ending, reconnectAfter: Duration? = nil) {
        finish(environment.farewell(ending, reconnectAfter: reconnectAfter))
    }

    private func finish(_ farewell: Farewell) {
        let socket = state.withLock { $0.machine.end() ? $0.socket : nil }
        guard let socket else { return }
        socket.eventLoop.execute { socket.end(farewell) }
    }

    private func send(
        _ frame: ByteBuffer, _ socket: any SessionSocket, in room: RoomID? = nil
    ) {
        let frame = room.map { RoomTag($0).tagged(frame) } ?? frame
        // Behind everything that was enqueued before.
        socket.eventLoop.execute { socket.send(frame) }
    }
}

/// The sockets with many rooms of one server.
final class RoomsSessionRegistry: Sendable {
    private let sessions = Mutex<[ObjectIdentifier: RoomsSession]>([:])

    var all: [RoomsSession] { sessions.withLock { Array($0.values) } }

    func add(_ session: RoomsSession) {
        sessions.withLock { $0[ObjectIdentifier(session)] = session }
    }

    func remove(_ session: RoomsSession) {
        sessions.withLock { $0[ObjectIdentifier(session)] = nil }
    }
}

extension ServerFrame {
    /// What the sender of a frame is told that is not done now.
    static func refusal(_ refusal: SessionStateMachine.Refusal, id: UUID? = nil) -> ByteBuffer {
        let words =
            refusal.code == .rateLimited
            ? "too many frames; nothing was done" : "too much is waiting; nothing was done"
        return ServerFrame.error(
            refusal.code, words, id: id, retryAfter: refusal.retryAfter, isTemporary: true)
    }
}
