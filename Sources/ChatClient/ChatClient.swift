public import FoundationEssentials
public import NIOCore
public import NIOPosix
import NIOSSL
public import ServiceLifecycle
import Synchronization

/// One person in one room, for as long as ``run()`` runs: stays connected, keeps what was written
/// until it is stored, and has every message of the room in order.
///
/// ```swift
/// let client = try ChatClient(.init(servers: ["https://chat.example"], room: "lobby") {
///     ChatToken(try await fetchToken())
/// })
/// async let running: Void = client.run()
/// let seq = try await client.deliver("hello")
/// for await case .appended(let messages) in client.events { show(messages) }
/// ```
public final class ChatClient: Service, Sendable {
    /// Whom to be, where.
    public struct Configuration: Sendable {
        /// Tried in turn, from the first on.
        public var servers: [String]
        public var room: String
        /// The name, where identity is open. Servers that ask for tokens ignore it.
        public var user: String?
        /// Gives a fresh token: before the first connection, some time before the last one ends,
        /// and after a server has refused it. Nil where identity is open.
        public var token: (@Sendable () async throws -> ChatToken)?
        /// Path of the certificates to trust, in PEM; nil: those of the system.
        public var certificateAuthority: String?
        /// Keeps the outbox over the end of the process; nil: in memory only.
        public var storage: (any OutboxStorage)?
        public var limits = ClientLimits()

        public init(
            servers: [String], room: String, user: String? = nil,
            token: (@Sendable () async throws -> ChatToken)? = nil
        ) {
            self.servers = servers
            self.room = room
            self.user = user
            self.token = token
        }
    }

    /// What waits for a message to be stored.
    private typealias Waiter = CheckedContinuation<Int64, any Error>

    private struct Core {
        var state: ChatClientState
        /// The attempt whose connection counts; 0 when none does.
        var attempt = 0
        /// Its connection, from before anything was said on it.
        var line: (any Channel)?
        var socket: ChatSocket?
        var alarm: (time: Instant, task: Scheduled<Void>)?
        var waiters: [UUID: Waiter] = [:]
        /// Whether ``run()`` has ended: nothing is sent any more.
        var hasEnded = false
    }

    /// What happens, for one reader. When nobody reads, the oldest are dropped; see
    /// ``ClientLimits/events``. Ends with ``run()``.
    public let events: AsyncStream<ChatEvent>

    private let configuration: Configuration
    private let addresses: [ChatAddress]
    private let tls: NIOSSLContext?
    private let loop: any EventLoop
    private let news: AsyncStream<ChatEvent>.Continuation
    /// Asks ``run()`` for a token. One question is enough, however often it is asked.
    private let tokenWishes: AsyncStream<Void>
    private let tokenWish: AsyncStream<Void>.Continuation
    private let core: Mutex<Core>

    /// - Throws: ``AddressError``; what reading the certificates or the outbox threw.
    public init(
        _ configuration: Configuration,
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) throws {
        precondition(!configuration.servers.isEmpty, "a client knows at least one server")
        self.configuration = configuration
        addresses = try configuration.servers.map { text in try ChatAddress(text) }
        tls = try Self.context(for: addresses, trusting: configuration.certificateAuthority)
        loop = group.next()
        (events, news) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingNewest(configuration.limits.events))
        (tokenWishes, tokenWish) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        core = Mutex(
            Core(
                state: ChatClientState(
                    servers: addresses.count, hasTokens: configuration.token != nil,
                    limits: configuration.limits, outbox: try configuration.storage?.load() ?? [],
                    seed: .random(in: .min ... .max))))
    }

    /// Connects, and stays connected until its task is cancelled or the program shuts down; then
    /// leaves the room. The outbox stays with its storage.
    ///
    /// A server that forbids to come back (``ChatEvent/ended(code:reason:)``) does not end it:
    /// ``renew(_:)`` may help. Call it once.
    public func run() async {
        step { $0.connect(now: $1) }
        await cancelWhenGracefulShutdown { await self.answerTokenWishes() }
        step { state, _ in state.leave() }
        let (line, waiters) = core.withLock { core in
            defer { core.waiters = [:] }
            core.hasEnded = true
            return (core.line, core.waiters)
        }
        for waiter in waiters.values { waiter.resume(throwing: CancellationError()) }
        // Lasts as long as a goodbye may; its outcome does not matter any more.
        await withCheckedContinuation { continuation in
            guard let line else { return continuation.resume() }
            line.closeFuture.whenComplete { _ in continuation.resume() }
        }
        news.finish()
    }

    /// Puts a message into the outbox, from where it is sent until it is stored or refused.
    ///
    /// - Returns: its id, which ``ChatEvent/stored(id:seq:)`` and others name.
    /// - Throws: ``SendError``; nothing was kept or sent then.
    @discardableResult
    public func send(_ text: String) throws(SendError) -> UUID {
        let id = UUID()
        try put(id, text, nil)
        return id
    }

    /// Sends a message, and returns its `seq` when a shard has stored it.
    ///
    /// - Throws: ``SendError``, when nothing was sent. ``ChatFault``, when it was refused for good.
    ///   `CancellationError`, when the task or ``run()`` ended: the message stays in the outbox.
    public func deliver(_ text: String) async throws -> Int64 {
        let id = UUID()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { waiter in
                do throws(SendError) {
                    try put(id, text, waiter)
                } catch {
                    waiter.resume(throwing: error)
                }
                if Task.isCancelled { give(up: id) }
            }
        } onCancel: {
            give(up: id)
        }
    }

    /// Gives up a message that was refused. False: there is none; one that may be stored stays.
    @discardableResult
    public func discard(_ id: UUID) -> Bool {
        core.withLock { core in core.state.withRoom(.now) { $0.discard(id) } }
    }

    /// Tells the others that the user is writing. May be called at every key.
    public func typing() {
        step { state, now in state.withRoom(now) { $0.type(now: now) } }
    }

    /// Loads the page before the oldest message here, which comes as an event.
    public func loadOlder() {
        step { state, now in state.withRoom(now) { $0.loadOlder(now: now) } }
    }

    /// Takes a fresh token that nobody asked for: for this connection and for those that follow.
    public func renew(_ token: ChatToken) {
        step { state, now in
            state.tokenCame(token, lifetime: Self.lifetime(of: token), now: now)
        }
    }

    /// What is here now.
    public func view() -> ChatView { core.withLock { $0.state.view } }

    // MARK: Sending

    private func put(_ id: UUID, _ text: String, _ waiter: Waiter?) throws(SendError) {
        let sentAt = Date().formatted(
            Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let entry = OutboxEntry(id: id, text: text, sentAt: sentAt)
        let refusal: SendError? = core.withLock { core in
            guard !core.hasEnded else { return .ended }
            do throws(SendError) {
                try core.state.room.check(text)
                try keep(entry)
            } catch {
                return error
            }
            core.waiters[id] = waiter
            core.state.withRoom(.now) { $0.send(entry, now: .now) }
            return nil
        }
        if let refusal { throw refusal }
        step { _, _ in }
    }

    private func keep(_ entry: OutboxEntry) throws(SendError) {
        do {
            try configuration.storage?.keep(entry)
        } catch {
            throw .notKept(String(describing: error))
        }
    }

    private func give(up id: UUID) {
        let waiter = core.withLock { $0.waiters.removeValue(forKey: id) }
        waiter?.resume(throwing: CancellationError())
    }

    // MARK: Tokens

    private func answerTokenWishes() async {
        for await _ in tokenWishes {
            guard let provider = configuration.token else { continue }
            do {
                renew(try await provider())
            } catch {
                // The state asks again, later and later.
                step { $0.tokenFailed(now: $1) }
            }
        }
    }

    private static func lifetime(of token: ChatToken) -> Duration? {
        token.expiresAt.map { .seconds($0.timeIntervalSinceNow) }
    }

    // MARK: Driving the state

    /// Tells the state something and does what it wants, on the event loop, one after the other.
    private func step(
        _ change: @escaping @Sendable (inout ChatClientState, Instant) -> Void
    ) {
        loop.execute {
            let actions = self.core.withLock { core in
                change(&core.state, .now)
                return core.state.drain()
            }
            for action in actions { self.perform(action) }
            self.setAlarm()
        }
    }

    private func perform(_ action: ClientAction) {
        switch action {
        case .open(let attempt, let server, let token): open(attempt, server, token)
        case .write(let text): core.withLock { $0.socket }?.send(text)
        case .close(let code): close(code)
        case .abandon: preconditionFailure("the state abandons connections itself")
        case .fetchToken: tokenWish.yield()
        case .tell(let event): tell(event)
        case .forget(let id): forget(id)
        }
    }

    /// Whatever comes of the attempt later is closed, too.
    private func close(_ code: UInt16) {
        let (line, socket) = core.withLock { core in
            core.attempt = 0
            return (core.line, core.socket)
        }
        if let socket {
            socket.close(code: code, patience: configuration.limits.byePatience)
        } else {
            line?.close(promise: nil)
        }
    }

    private func tell(_ event: ChatEvent) {
        switch event {
        case .stored(let id, let seq):
            core.withLock { $0.waiters.removeValue(forKey: id) }?.resume(returning: seq)
        case .refused(let id, let fault):
            core.withLock { $0.waiters.removeValue(forKey: id) }?.resume(throwing: fault)
        case .connected, .disconnected, .ended, .reset, .appended, .prepended, .deleted, .queued,
            .fault, .presence, .typing:
            break
        }
        news.yield(event)
    }

    private func forget(_ id: UUID) {
        do {
            try configuration.storage?.forget(id)
        } catch {
            // Sent once more after the next start, with the same id: nothing is stored twice.
        }
    }

    private func setAlarm() {
        core.withLock { core in
            guard let deadline = core.state.deadline else { return }
            // One that goes off too early finds nothing due, and sets the next one.
            if let alarm = core.alarm, alarm.time <= deadline { return }
            core.alarm?.task.cancel()
            let task = loop.scheduleTask(in: TimeAmount(max(.zero, deadline - .now))) {
                self.core.withLock { $0.alarm = nil }
                self.step { $0.passed(now: $1) }
            }
            core.alarm = (deadline, task)
        }
    }

    private func open(_ attempt: Int, _ server: Int, _ token: ChatToken?) {
        core.withLock { core in
            core.attempt = attempt
            core.line = nil
            core.socket = nil
        }
        let request = ChatSocket.Request(
            address: addresses[server],
            path: ChatAddress.path(
                room: configuration.room, user: token == nil ? configuration.user : nil),
            token: token)
        let listener = ChatSocket.Listener(
            connected: { line in
                self.core.withLock { core in
                    guard core.attempt == attempt else { return false }
                    core.line = line
                    return true
                }
            },
            received: { text in
                self.step { $0.received(text, attempt: attempt, now: $1) }
            },
            closed: { ending in self.step { $0.closed(ending, attempt: attempt, now: $1) } })
        let limits = configuration.limits
        ChatSocket.connect(request, tls: tls, limits: limits, on: loop, listener)
            .whenComplete { result in
                switch result {
                case .success(let socket):
                    let isWanted = self.core.withLock { core in
                        guard core.attempt == attempt else { return false }
                        core.socket = socket
                        return true
                    }
                    if !isWanted { socket.close(code: 1000, patience: limits.byePatience) }
                case .failure(let error):
                    let refusal = (error as? ChatSocket.Refusal)?.ending
                    let ending = refusal ?? ChatClientState.Ending(reason: "\(error)")
                    self.step { $0.closed(ending, attempt: attempt, now: $1) }
                }
            }
    }

    private static func context(
        for addresses: [ChatAddress], trusting path: String?
    ) throws -> NIOSSLContext? {
        guard addresses.contains(where: \.isSecure) else { return nil }
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let path { configuration.trustRoots = .file(path) }
        return try NIOSSLContext(configuration: configuration)
    }
}
