import CLibpq
import Synchronization

/// One connection to a PostgreSQL server.
///
/// Runs on a thread of its own kind and never blocks Swift's shared ones. One operation runs at a
/// time; callers that come meanwhile wait in order.
///
/// A passed deadline or a cancelled task cancels the statement at the server. When the server does
/// not answer that within two seconds, the connection is cut.
public actor PostgresConnection {
    nonisolated let handle: ConnectionHandle
    nonisolated let executor = PostgresExecutor.next()
    var preparedStatements = PreparedStatements()
    private var isBusy = false
    private var queue: [CheckedContinuation<Void, Never>] = []

    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    private init(_ handle: ConnectionHandle) {
        self.handle = handle
    }

    /// Opens a connection; several hosts of `settings` are tried in turn.
    ///
    /// - Throws: ``PostgresError/connectionFailed(reason:)`` with libpq's reason.
    public static func connect(
        _ settings: ConnectionSettings, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> PostgresConnection {
        PostgresConnection(try await ConnectionHandle.connect(settings, deadline: deadline))
    }

    /// Whether the connection can be used. False after a loss, and for ever then.
    public nonisolated var isUsable: Bool { !handle.isClosed.load(ordering: .acquiring) }

    /// Whether a transaction was open when the last operation ended.
    public nonisolated var isInTransaction: Bool {
        handle.isInTransaction.load(ordering: .acquiring)
    }

    /// Whether the server has closed the connection, or is about to, while nothing runs on it.
    ///
    /// Looks at the socket without a round trip: a server that is gone without a word is not
    /// noticed. Call it only while nothing runs.
    public nonisolated var isPeerGone: Bool { handle.isPeerGone }

    /// Whether the server has refused to write because it is read-only: a standby, or a primary
    /// that was replaced. Another connection may find the one that writes.
    public nonisolated var hasLostRole: Bool { handle.hasLostRole.load(ordering: .acquiring) }

    /// Makes the session as if it were new – settings, cursors, temporary tables, locks, what is
    /// listened to – except that plans stay. An open transaction is rolled back.
    public func resetSession(deadline: ContinuousClock.Instant) async throws(PostgresError) {
        var statements: [Statement] = isInTransaction ? [Statement("rollback")] : []
        // What DISCARD ALL does, without DISCARD PLANS and DEALLOCATE ALL.
        statements += [
            "close all", "set session authorization default", "reset all", "unlisten *",
            "select pg_advisory_unlock_all()", "discard temp", "discard sequences",
        ].map { Statement($0) }
        _ = try await pipeline(statements, deadline: deadline)
    }

    /// Ends the connection at once, whoever else still holds it. What runs fails with
    /// `connectionLost`. Idempotent.
    public nonisolated func close() {
        handle.isClosed.store(true, ordering: .releasing)
        handle.hangUp()
        executor.interrupt(handle.socket)
    }

    /// Runs one statement.
    public func query(
        _ statement: Statement, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Rows {
        try await pipeline([statement], deadline: deadline)[0]
    }

    /// Runs one statement.
    public func query(
        _ sql: String, _ parameters: [any PostgresEncodable] = [],
        deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> Rows {
        try await query(Statement(sql, parameters), deadline: deadline)
    }

    /// Runs statements in one round trip, as one transaction unless they say otherwise.
    ///
    /// - Throws: the first failure; ``ServerError/statementIndex`` tells whose it is. Then nothing
    ///   of the pipeline has happened, unless it had its own COMMIT before. What comes to its end
    ///   while it is being cancelled throws `connectionLost`, with `mayHaveRun` set: a commit that
    ///   was cancelled while it waited for a synchronous standby succeeds all the same.
    public func pipeline(
        _ statements: [Statement], deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Rows] {
        precondition(!statements.isEmpty, "a pipeline has statements")
        return try await alone { () async throws(PostgresError) -> [Rows] in
            try await self.runPipeline(statements, deadline: deadline)
        }
    }

    /// Runs a text of several statements without parameters, as one transaction unless it says
    /// otherwise. Rows are thrown away.
    public func script(
        _ sql: String, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        try await alone { () async throws(PostgresError) in
            try await self.runScript(sql, deadline: deadline)
        }
    }

    /// Waits for notifications after a `LISTEN`; an empty answer means that `deadline` has passed.
    public func notifications(
        until deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Notification] {
        try await alone { () async throws(PostgresError) -> [Notification] in
            try await self.waitForNotifications(until: deadline)
        }
    }

    /// Runs `operation` when all earlier ones have ended.
    func alone<Value: Sendable>(
        _ operation: @Sendable () async throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        if isBusy {
            await withCheckedContinuation { queue.append($0) }
        }
        isBusy = true
        defer { finishOperation() }
        guard isUsable else {
            throw .connectionLost(reason: "the connection is closed", mayHaveRun: false)
        }
        let executor = executor
        let socket = handle.socket
        let outcome = await withTaskCancellationHandler {
            () async -> Result<Value, PostgresError> in
            do throws(PostgresError) {
                return .success(try await operation())
            } catch {
                return .failure(error)
            }
        } onCancel: {
            executor.interrupt(socket)
        }
        await settleCancels()
        return try outcome.get()
    }

    private func finishOperation() {
        let status = PQtransactionStatus(handle.pointer)
        handle.isInTransaction.store(
            status == PQTRANS_INTRANS || status == PQTRANS_INERROR, ordering: .releasing)
        if PQstatus(handle.pointer) != CONNECTION_OK {
            handle.isClosed.store(true, ordering: .releasing)
        }
        if queue.isEmpty {
            isBusy = false
        } else {
            queue.removeFirst().resume()  // It finds `isBusy` set: nobody can slip in between.
        }
    }
}

/// What `NOTIFY` sent.
public struct Notification: Sendable, Equatable {
    public var channel: String
    public var payload: String

    public init(channel: String, payload: String) {
        self.channel = channel
        self.payload = payload
    }
}
