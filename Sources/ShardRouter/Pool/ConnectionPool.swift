import Postgres
import Synchronization

/// Bounded, verified connections, lent in the order of the asking.
///
/// ``run()`` makes and cleans connections; ``tick(now:)`` must be called every few milliseconds,
/// because deadlines are noticed there. Lending a connection that rests costs one lock.
final class ConnectionPool<Connector: PoolConnector>: Sendable {
    typealias Connection = Connector.Connection
    private typealias Turn = Result<Lease, ShardError>

    /// The right to use one connection until it is given back.
    struct Lease: Sendable {
        fileprivate let number: Int
        let connection: Connection
    }

    private struct Contents {
        var state: PoolState
        var connections: [Int: Connection] = [:]
        var callers: [Int: UnsafeContinuation<Turn, Never>] = [:]
        /// What callers were told before they had begun to wait.
        var turns: [Int: Turn] = [:]
        var nextTicket = 0
        var lastFailure = "no connection was made yet"
    }

    /// What ``run()`` does aside.
    private enum Work: Sendable {
        case connect(Int)
        case reset(Int, Connection)
    }

    let connector: Connector
    private let limits: PoolLimits
    private let metrics: PoolMetrics
    private let contents: Mutex<Contents>
    private let work: AsyncStream<Work>
    private let workers: AsyncStream<Work>.Continuation

    init(_ connector: Connector, limits: PoolLimits, metrics: PoolMetrics) {
        self.connector = connector
        self.limits = limits
        self.metrics = metrics
        contents = Mutex(Contents(state: PoolState(limits: limits)))
        // Bounded by the connections of the pool.
        (work, workers) = AsyncStream.makeStream()
    }

    /// Lends a connection to `body`.
    ///
    /// - Parameter reset: whether `body` may leave something in the session that the next one must
    ///   not find. An open transaction is always rolled back.
    func withConnection<Value>(
        deadline: ContinuousClock.Instant, reset: Bool = false,
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        let lease = try await lease(deadline: deadline)
        defer { giveBack(lease, reset: reset) }
        return try await body(lease.connection)
    }

    /// Takes in a connection that was made before ``run()``.
    func warm(_ connection: Connection) {
        perform { contents, now in
            let (number, actions) = contents.state.adopt(jitter: .random(in: 0...1), now: now)
            contents.connections[number] = connection
            return actions
        }
    }

    /// Makes and cleans connections until the pool is closed and everything has come back.
    func run() async {
        tick(now: .now)
        await withDiscardingTaskGroup { group in
            for await work in work {
                group.addTask { await self.perform(work) }
            }
        }
    }

    /// Notices deadlines and what has rested, or lived, for too long.
    func tick(now: ContinuousClock.Instant) {
        perform { contents, _ in contents.state.tick(now: now) }
    }

    /// Tells metrics how the pool is used.
    func measure() {
        let state = contents.withLock { $0.state }
        metrics.measure(state)
    }

    /// Lends nothing any more; what is lent is closed when it comes back.
    func close() {
        perform { contents, _ in contents.state.close() }
    }

    /// Whether the pool was closed.
    var isClosed: Bool { contents.withLock { $0.state.isClosed } }
}

// MARK: - Leases

extension ConnectionPool {
    private func lease(
        deadline: ContinuousClock.Instant
    ) async throws(ShardError) -> Lease {
        let start = ContinuousClock.now
        while true {
            let lease = try await turn(deadline: deadline)
            guard !lease.connection.isPeerGone else {
                giveBack(lease, condition: .broken)
                continue
            }
            metrics.leaseWait.record(since: start)
            return lease
        }
    }

    private func turn(
        deadline: ContinuousClock.Instant
    ) async throws(ShardError) -> Lease {
        let ticket = contents.withLock { contents in
            contents.nextTicket += 1
            return contents.nextTicket
        }
        perform { contents, now in
            contents.state.ask(ticket: ticket, deadline: deadline, now: now)
        }
        if let turn = contents.withLock({ $0.turns.removeValue(forKey: ticket) }) {
            return try turn.get()
        }
        let turn = await withTaskCancellationHandler {
            await withUnsafeContinuation { (caller: UnsafeContinuation<Turn, Never>) in
                let turn = contents.withLock { contents in
                    let turn = contents.turns.removeValue(forKey: ticket)
                    if turn == nil { contents.callers[ticket] = caller }
                    return turn
                }
                if let turn { caller.resume(returning: turn) }
            }
        } onCancel: {
            perform { contents, _ in contents.state.giveUp(ticket: ticket) }
        }
        return try turn.get()
    }

    private func giveBack(_ lease: Lease, reset: Bool) {
        let connection = lease.connection
        if !connection.isUsable || connection.hasLostRole {
            giveBack(lease, condition: .broken)
        } else {
            let mustReset = reset || connection.isInTransaction
            giveBack(lease, condition: mustReset ? .needsReset : .clean)
        }
    }

    private func giveBack(_ lease: Lease, condition: PoolState.Condition) {
        perform { contents, now in
            contents.state.returned(lease.number, condition, now: now)
        }
    }
}

// MARK: - Actions

extension ConnectionPool {
    /// What is left to do when the lock is open again.
    private struct Errands {
        var told: [(UnsafeContinuation<Turn, Never>, Turn)] = []
        var closing: [Connection] = []
        var work: [Work] = []
        var isOver = false
    }

    private func perform(
        _ event: (inout Contents, ContinuousClock.Instant) -> [PoolState.Action]
    ) {
        let now = ContinuousClock.now
        let errands = contents.withLock { contents in
            var errands = Errands()
            for action in event(&contents, now) { perform(action, &contents, &errands) }
            errands.isOver = contents.state.isClosed && contents.state.open == 0
            return errands
        }
        for (caller, turn) in errands.told { caller.resume(returning: turn) }
        errands.closing.forEach { $0.close() }
        errands.work.forEach { workers.yield($0) }
        if errands.isOver { workers.finish() }
    }

    private func perform(
        _ action: PoolState.Action, _ contents: inout Contents, _ errands: inout Errands
    ) {
        switch action {
        case .lend(let number, let ticket):
            guard let connection = contents.connections[number] else {
                preconditionFailure("an open connection is known")
            }
            tell(
                .success(Lease(number: number, connection: connection)), ticket, &contents, &errands
            )
        case .refuse(let ticket, let refusal):
            let error = error(refusal, contents)
            tell(.failure(error), ticket, &contents, &errands)
        case .connect(let number):
            errands.work.append(.connect(number))
        case .reset(let number):
            guard let connection = contents.connections[number] else { return }
            errands.work.append(.reset(number, connection))
        case .close(let number):
            if let connection = contents.connections.removeValue(forKey: number) {
                errands.closing.append(connection)
            }
        }
    }

    private func tell(
        _ turn: Turn, _ ticket: Int, _ contents: inout Contents, _ errands: inout Errands
    ) {
        if let caller = contents.callers.removeValue(forKey: ticket) {
            errands.told.append((caller, turn))
        } else {
            contents.turns[ticket] = turn
        }
    }

    private func error(_ refusal: PoolState.Refusal, _ contents: Contents) -> ShardError {
        let name = connector.name
        switch refusal {
        case .late:
            return .busy(shard: name, reason: "all \(limits.connections) connections are in use")
        case .crowded:
            return .busy(shard: name, reason: "\(limits.waiters) callers wait for a connection")
        case .away(let retryAfter):
            return .unreachable(
                shard: name,
                reason: "\(contents.lastFailure); tried again in \(retryAfter)")
        case .closed:
            return .closed(shard: name)
        case .abandoned:
            return .busy(shard: name, reason: "the caller was cancelled")
        }
    }

    private func perform(_ work: Work) async {
        switch work {
        case .connect(let number):
            do throws(ShardError) {
                let connection = try await connector.connect(deadline: .now + limits.connect)
                metrics.connected()
                let isLate = contents.withLock { contents in
                    contents.connections[number] = connection
                    return contents.state.isClosed
                }
                perform { contents, now in
                    contents.state.connected(number, jitter: .random(in: 0...1), now: now)
                }
                if isLate { connection.close() }
            } catch {
                metrics.connectFailed()
                perform { contents, now in
                    contents.lastFailure = error.reason
                    return contents.state.connectFailed(
                        number, jitter: .random(in: 0.5...1), now: now)
                }
            }
        case .reset(let number, let connection):
            var isClean = true
            do throws(PostgresError) {
                try await connection.resetSession(deadline: .now + limits.reset)
            } catch {
                isClean = false  // It is closed; whoever used it has his answer already.
            }
            perform { [isClean] contents, now in
                contents.state.resetEnded(number, isClean: isClean, now: now)
            }
        }
    }
}
