import Postgres

/// The connections to one shard: bounded, verified, lent in the order of the asking.
actor ShardPool {
    private let connector: ShardConnector
    private var idle: [PostgresConnection] = []
    private var openCount = 0
    private var waiters: [Waiter] = []
    private var nextTicket = 0
    /// Tickets whose wait was given up before it had begun.
    private var abandoned: Set<Int> = []
    private var isClosed = false

    private struct Waiter {
        var ticket: Int
        var continuation: CheckedContinuation<Turn, Never>
    }

    /// What a waiter may do now.
    private enum Turn {
        case use(PostgresConnection)
        case connect
        case giveUp
    }

    init(_ connector: ShardConnector) {
        self.connector = connector
    }

    nonisolated var shard: Shard { connector.shard }

    /// Lends a connection to `body`. One that is broken, or still in a transaction, is closed
    /// afterwards; the others serve the next caller.
    func withConnection<Value: Sendable>(
        deadline: ContinuousClock.Instant,
        _ body: @Sendable (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let connection = try await lease(deadline: deadline)
        defer { giveBack(connection) }
        return try await body(connection)
    }

    /// Closes what is idle, and the rest when it is given back.
    func close() {
        isClosed = true
        idle.forEach { $0.close() }
        openCount -= idle.count
        idle = []
        waiters.forEach { $0.continuation.resume(returning: .giveUp) }
        waiters = []
    }

    /// Ends the wait under `ticket`, if it still goes on.
    private func giveUp(ticket: Int) {
        guard let place = waiters.firstIndex(where: { $0.ticket == ticket }) else {
            abandoned.insert(ticket)
            return
        }
        waiters.remove(at: place).continuation.resume(returning: .giveUp)
    }

    private func lease(
        deadline: ContinuousClock.Instant
    ) async throws(ShardError) -> PostgresConnection {
        switch await turn(deadline: deadline) {
        case .use(let connection):
            return connection
        case .giveUp:
            throw .unreachable(shard: shard.name, reason: "all connections are in use")
        case .connect:
            do throws(ShardError) {
                return try await connector.connect(deadline: deadline)
            } catch {
                openCount -= 1
                serveNext()
                throw error
            }
        }
    }

    private func turn(deadline: ContinuousClock.Instant) async -> Turn {
        if isClosed { return .giveUp }
        while let connection = idle.popLast() {
            if connection.isUsable { return .use(connection) }
            openCount -= 1
        }
        if openCount < connector.limits.connections {
            openCount += 1
            return .connect
        }
        nextTicket += 1
        let ticket = nextTicket
        defer { abandoned.remove(ticket) }
        return await withTaskGroup(of: Turn?.self) { group in
            group.addTask { await self.wait(ticket: ticket) }
            group.addTask {
                do {
                    try await Task.sleep(until: deadline)
                } catch {
                    // Either the turn has come, and nobody waits under this ticket any more, or
                    // the caller was cancelled and does not want its turn.
                }
                await self.giveUp(ticket: ticket)
                return nil
            }
            defer { group.cancelAll() }
            while let turn = await group.next() {
                if let turn { return turn }
            }
            return .giveUp
        }
    }

    private func wait(ticket: Int) async -> Turn {
        if isClosed || abandoned.contains(ticket) { return .giveUp }
        return await withCheckedContinuation {
            waiters.append(Waiter(ticket: ticket, continuation: $0))
        }
    }

    private func giveBack(_ connection: PostgresConnection) {
        if isClosed || connection.isInTransaction || !connection.isUsable {
            connection.close()
            openCount -= 1
        } else {
            idle.append(connection)
        }
        serveNext()
    }

    private func serveNext() {
        guard !waiters.isEmpty else { return }
        if let connection = idle.popLast() {
            waiters.removeFirst().continuation.resume(returning: .use(connection))
        } else if openCount < connector.limits.connections {
            openCount += 1
            waiters.removeFirst().continuation.resume(returning: .connect)
        }
    }
}
