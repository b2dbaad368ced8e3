import CoreMetrics
import FoundationEssentials
import Logging
import ServiceLifecycle
import ShardRouter
import Synchronization

/// The chat of one server: what the transport and the HTTP endpoints call.
///
/// ``run()`` must run while sockets are open; neither the store nor the pub/sub is run by it.
final class ChatServer: Service {
    /// What ``run()`` runs side by side.
    private enum Part {
        case listening, working, timekeeping, patience
    }

    let environment: RoomEnvironment
    let directory: RoomDirectory
    /// Sockets with many rooms: one that is in no room has no other place.
    let roomsSessions = RoomsSessionRegistry()
    private let authenticator: any Authenticator
    private let isStopping = Atomic<Bool>(false)
    private let isLeaving = Atomic<Bool>(false)
    private let ticks = Atomic<Int>(0)

    /// - Parameters:
    ///   - serverName: what clients see in `hello`.
    ///   - receipts: the cluster's keys; they may become known later.
    ///   - lanes: how many threads may start writes at once.
    ///   - draw: draws a number from a range, both ends included.
    init(
        store: any MessageStore, pubSub: any PubSub, serverName: String,
        limits: ChatLimits = ChatLimits(), receipts: ReceiptKeyring = ReceiptKeyring(),
        logger: Logger, clock: ChatClock = .system, lanes: Int = 2,
        draw: @escaping @Sendable (ClosedRange<Int64>) -> Int64 = { .random(in: $0) },
        metrics: ChatMetrics = ChatMetrics(), tracing: ChatTracing = ChatTracing(),
        authenticator: any Authenticator = OpenAuthenticator()
    ) {
        self.authenticator = authenticator
        environment = RoomEnvironment(
            store: store, pubSub: pubSub, serverName: serverName, limits: limits,
            receipts: receipts, clock: clock, lanes: WorkLanes(count: lanes), logger: logger,
            draw: draw, metrics: metrics, tracing: tracing)
        directory = RoomDirectory(environment: environment)
    }

    var metrics: ChatMetrics { environment.metrics }

    var tracing: ChatTracing { environment.tracing }

    var receipts: ReceiptKeyring { environment.receipts }

    /// Rooms that this server keeps, with sockets or without.
    var roomCount: Int { directory.count }

    // MARK: For the transport

    /// Who sends a request.
    func identity(of credentials: Credentials) throws(AuthenticationError) -> Identity {
        try authenticator.identity(of: credentials, at: environment.clock.time())
    }

    /// Who asks for something in `room` for which he need not say who he is.
    func guest(
        with credentials: Credentials, in room: RoomID
    ) throws(AuthenticationError) -> Guest {
        try authenticator.guest(with: credentials, in: room, at: environment.clock.time())
    }

    /// The clock that rates are counted by.
    var now: ContinuousClock.Instant { environment.clock.now() }

    /// The session of a socket that is about to be opened; one that only closes it again when its
    /// sender is not known, or may not read the room.
    ///
    /// - Parameter room: from ``RoomName/parse(_:)``; nil for a socket with many rooms.
    func makeSession(room: RoomID?, credentials: Credentials) -> any SocketSession {
        let identity: Identity
        do throws(AuthenticationError) {
            identity = try self.identity(of: credentials)
        } catch {
            return refusal(.unauthorized, error.reason)
        }
        guard let room else {
            return RoomsSession(
                identity: identity, authenticator: authenticator, environment: environment,
                registry: roomsSessions, farewell: whyNoMore,
                makeSession: { [weak self] in self?.session(in: $0, identity: $1, bounds: $2) })
        }
        guard identity.rights(in: room).contains(.read) else {
            return refusal(.forbidden, "no right to read this room")
        }
        return session(in: room, identity: identity, bounds: nil)
    }

    private func session(
        in room: RoomID, identity: Identity, bounds: SharedBounds?
    ) -> ChatSession {
        ChatSession(
            room: room, identity: identity, authenticator: authenticator,
            environment: environment, directory: directory, bounds: bounds, farewell: whyNoMore)
    }

    /// For sessions, which do not keep the server alive.
    private var whyNoMore: @Sendable () -> SessionStateMachine.Ending? {
        { [weak self] in
            guard let self else { return .stopped }
            return self.farewell
        }
    }

    private func refusal(_ code: CloseCode, _ reason: String) -> RefusedSession {
        RefusedSession(code, reason: reason, bye: environment.bye(code, reason))
    }

    /// Whether the server takes no more sockets.
    var isDraining: Bool { farewell != nil }

    /// Why the server takes no more sockets; nil as long as it does.
    private var farewell: SessionStateMachine.Ending? {
        if isStopping.load(ordering: .sequentiallyConsistent) { return .stopped }
        return isLeaving.load(ordering: .sequentiallyConsistent) ? .draining : nil
    }

    /// A page of a room's history.
    func history(
        of room: RoomID, _ request: HistoryRequest
    ) async throws(ReadError) -> HistoryPage {
        try await environment.history(of: room, request)
    }

    /// How long `user` has to wait before he may post to `room`; nil when he may now: then one
    /// message is counted, with those of his sockets.
    func allowance(of user: String, in room: RoomID) -> Duration? {
        environment.allowances.message(of: user, in: room, at: environment.clock.now())
    }

    /// Stores a posted message and relays it to the room's readers on all servers.
    ///
    /// - Returns: when it is durable. ``Receipt/isDuplicate`` says that it was stored before.
    func post(
        _ message: ClientMessage, to room: RoomID, from user: String
    ) async throws(WriteError) -> WriteOutcome {
        try await writer.write(
            message, to: room, from: user, author: nil, environment.arrived(in: room))
    }

    /// Whether `room` has a message called `id`.
    func isStored(_ id: UUID, in room: RoomID) async -> Bool {
        await writer.isStored(id, in: room)
    }

    /// What a reader needs to give a stored message back one day; nil without a key.
    func proof(
        of message: ClientMessage, in room: RoomID, from user: String, _ receipt: Receipt
    ) async -> String? {
        await environment.proof(
            of: Message(
                id: message.id, room: room, author: user, sentAt: receipt.sentAt,
                receivedAt: receipt.receivedAt, text: message.text), receipt)
    }

    /// A message that was queued, here or by this server's life before, has been stored.
    func drained(_ message: Message, _ receipt: Receipt) {
        writer.drained(message, receipt)
    }

    private var writer: MessageWriter {
        MessageWriter(environment: environment, directory: directory)
    }

    // MARK: Life

    /// Serves until graceful shutdown: then every socket gets a `bye` and is closed, messages on
    /// their way to a shard get their answer, for at most ``RoomLimits/stopPatience``.
    func run() async throws {
        await withGracefulShutdownHandler {
            await withTaskGroup(of: Part.self) { group in
                group.addTask { await self.listen() }
                group.addTask { await self.work() }
                group.addTask { await self.keepTime() }
                for await part in group {
                    switch part {
                    case .listening: break  // Pub/sub has stopped; the shards are still read.
                    case .timekeeping:
                        environment.lanes.finish()
                        group.addTask { await self.losePatience() }
                    case .working, .patience: group.cancelAll()
                    }
                }
            }
        } onGracefulShutdown: {
            self.stop()
        }
    }

    /// Takes no more sockets from now on. Those that are open live on; see ``drain(over:)``.
    func takeNoMore() {
        isLeaving.store(true, ordering: .sequentiallyConsistent)
    }

    /// Takes no more sockets, and closes those that are open. Idempotent.
    func stop() {
        guard !isStopping.exchange(true, ordering: .sequentiallyConsistent) else { return }
        for room in directory.all { room.stopMembers() }
        for session in roomsSessions.all { session.stop() }
    }

    /// Looks at the clock for the rooms whose turn it is; every few times for all sockets, too.
    func tick() {
        let count = ticks.add(1, ordering: .relaxed).newValue
        let limits = environment.limits.room
        for room in directory.all {
            let turn = count + room.phase
            if turn.isMultiple(of: limits.calmTicks) || !room.isCalm {
                room.tick(isDeaf: !environment.pubSub.hears(room.id))
            }
            if turn.isMultiple(of: limits.memberTicks) { room.tickMembers() }
        }
        if count.isMultiple(of: limits.memberTicks) {
            for session in roomsSessions.all { session.ticked() }
        }
        if count.isMultiple(of: limits.sweepTicks) { directory.sweep() }
    }

    private func keepTime() async -> Part {
        while !isStopping.load(ordering: .sequentiallyConsistent) {
            do {
                try await Task.sleep(for: environment.limits.room.tick)
            } catch {
                // Cancelled: the same end as a shutdown, without its patience.
                stop()
            }
            tick()
        }
        return .timekeeping
    }

    private func work() async -> Part {
        await environment.lanes.run()
        return .working
    }

    private func losePatience() async -> Part {
        do {
            try await Task.sleep(for: environment.limits.room.stopPatience)
        } catch {
            // All work was done before.
        }
        return .patience
    }

    private func listen() async -> Part {
        for await event in environment.pubSub.events {
            switch event {
            case .payload(let payload, room: let id):
                environment.metrics.received.increment()
                guard let room = directory.existing(id) else { continue }
                guard let event = RoomEvent.decode(payload) else {
                    environment.logger.debug(
                        "An event of another server was not understood.",
                        metadata: ["room.id": "\(id)"])
                    continue
                }
                room.heard(event)
            case .subscribed(let id):
                directory.existing(id)?.subscribed()
            case .disconnected:
                environment.logger.debug("Other servers cannot be heard; rooms read their shards.")
            }
        }
        return .listening
    }
}
