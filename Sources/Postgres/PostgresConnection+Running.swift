import CLibpq
import Synchronization

/// Why the running statement is to end early.
enum EarlyEnd {
    case deadline
    case cancelled
}

/// The state of one operation: how long it may wait, and whether it was asked to end.
struct Progress {
    var deadline: ContinuousClock.Instant
    var earlyEnd: EarlyEnd?
}

extension PostgresConnection {
    private enum Command {
        case forget
        case prepare(PreparedStatements.Key, name: String)
        case execute(index: Int, PreparedStatements.Key)
    }

    func runPipeline(
        _ statements: [Statement], deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Rows] {
        try check(statements)
        guard !Task.isCancelled else { throw .cancelled }
        guard deadline > .now else { throw .deadlineExceeded }
        let commands = try sendAll(statements)
        var progress = Progress(deadline: deadline)
        var rows: [Rows] = []
        var failure: ServerError?
        for command in commands {
            while let result = try await nextResult(&progress) {
                switch result.status {
                case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
                    succeeded(command, result, &rows)
                case PGRES_PIPELINE_ABORTED:
                    break
                case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                    throw lost("COPY needs copyIn or copyOut")
                default:
                    failure = failure ?? failed(command, result)
                }
            }
        }
        guard let sync = try await nextResult(&progress), sync.status == PGRES_PIPELINE_SYNC
        else { throw lost("the answer has no end") }
        if let failure { throw translated(failure, progress) }
        // A commit that is cancelled while it waits for a synchronous standby succeeds with a warning
        // and is not on the standby: to be repeated, not to be relied on.
        if progress.earlyEnd != nil {
            throw .connectionLost(reason: "it ended while it was cancelled", mayHaveRun: true)
        }
        precondition(rows.count == statements.count, "each statement has an answer")
        return rows
    }

    private func check(_ statements: [Statement]) throws(PostgresError) {
        for statement in statements {
            for (index, parameter) in statement.parameters.enumerated() {
                if let problem = parameter.problem {
                    throw .badParameter(index: index, reason: problem)
                }
            }
        }
    }

    private func sendAll(_ statements: [Statement]) throws(PostgresError) -> [Command] {
        var commands: [Command] = []
        var prepared: [PreparedStatements.Key: String] = [:]
        if !isInTransaction {
            for name in preparedStatements.takeRetired() {
                try send(Statement("deallocate \(name)"), name: nil)
                commands.append(.forget)
            }
        }
        for (index, statement) in statements.enumerated() {
            let key = PreparedStatements.Key(
                sql: statement.sql, types: statement.types)
            var name: String?
            if statement.isPrepared {
                name = preparedStatements.name(for: key) ?? prepared[key]
                if name == nil {
                    let new = preparedStatements.newName()
                    try prepare(statement, name: new)
                    commands.append(.prepare(key, name: new))
                    prepared[key] = new
                    name = new
                }
            }
            try send(statement, name: name)
            commands.append(.execute(index: index, key))
        }
        guard PQpipelineSync(handle.pointer) == 1 else { throw lost(handle.errorMessage) }
        return commands
    }

    private func prepare(_ statement: Statement, name: String) throws(PostgresError) {
        let types = statement.types
        guard
            PQsendPrepare(handle.pointer, name, statement.sql, Int32(types.count), types) == 1
        else { throw lost(handle.errorMessage) }
    }

    private func send(_ statement: Statement, name: String?) throws(PostgresError) {
        let parameters = statement.parameters
        let count = Int32(parameters.count)
        let lengths = parameters.map { Int32($0.range?.count ?? 0) }
        let formats = [Int32](repeating: 1, count: parameters.count)
        let isSent = statement.bytes.withUnsafeBytes { buffer in
            let pointers: [UnsafePointer<CChar>?] = parameters.map { parameter in
                parameter.range.flatMap { range in
                    buffer.baseAddress.map {
                        ($0 + range.lowerBound).assumingMemoryBound(to: CChar.self)
                    }
                }
            }
            if let name {
                return PQsendQueryPrepared(
                    handle.pointer, name, count, pointers, lengths, formats, 1)
            }
            return PQsendQueryParams(
                handle.pointer, statement.sql, count, statement.types, pointers, lengths, formats,
                1)
        }
        guard isSent == 1 else { throw lost(handle.errorMessage) }
    }

    private func succeeded(_ command: Command, _ result: ResultHandle, _ rows: inout [Rows]) {
        switch command {
        case .forget: break
        case .prepare(let key, let name): preparedStatements.add(key, name: name)
        case .execute: rows.append(Rows(result: result))
        }
    }

    private func failed(_ command: Command, _ result: ResultHandle) -> ServerError {
        switch command {
        case .forget, .prepare: return result.serverError(statement: 0)
        case .execute(let index, let key):
            let error = result.serverError(statement: index)
            switch error.sqlState {
            case "0A000": preparedStatements.retire(key)  // It no longer fits its tables.
            case "26000": preparedStatements.remove(key)
            case "25006": handle.hasLostRole.store(true, ordering: .releasing)
            default: break
            }
            return error
        }
    }

    func runScript(
        _ sql: String, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        try leavePipelineMode()
        guard PQsendQuery(handle.pointer, sql) == 1 else { throw lost(handle.errorMessage) }
        var progress = Progress(deadline: deadline)
        var failure: ServerError?
        while let result = try await nextResult(&progress) {
            switch result.status {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                throw lost("a script cannot COPY")
            default: failure = failure ?? result.serverError(statement: 0)
            }
        }
        try enterPipelineMode()
        if let failure { throw translated(failure, progress) }
    }

    func leavePipelineMode() throws(PostgresError) {
        guard !Task.isCancelled else { throw .cancelled }
        guard PQexitPipelineMode(handle.pointer) == 1 else { throw lost(handle.errorMessage) }
    }

    func enterPipelineMode() throws(PostgresError) {
        guard PQenterPipelineMode(handle.pointer) == 1 else { throw lost(handle.errorMessage) }
    }

    func waitForNotifications(
        until deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Notification] {
        while true {
            guard PQconsumeInput(handle.pointer) == 1 else { throw lost(handle.errorMessage) }
            let found = takeNotifications()
            if !found.isEmpty { return found }
            switch await wait(alsoWrite: false, until: deadline) {
            case .deadline: return []
            case .ready: break
            case .interrupted:
                if Task.isCancelled { throw .cancelled }
                guard isUsable else { throw lost("it was closed") }
            }
        }
    }

    private func takeNotifications() -> [Notification] {
        var found: [Notification] = []
        while let pointer = PQnotifies(handle.pointer) {
            found.append(
                Notification(
                    channel: String(cString: pointer.pointee.relname),
                    payload: String(cString: pointer.pointee.extra)))
            PQfreemem(pointer)
        }
        return found
    }

    /// The next result, or nil at the end of a command's results.
    func nextResult(_ progress: inout Progress) async throws(PostgresError) -> ResultHandle? {
        while true {
            let unsent = PQflush(handle.pointer)
            guard unsent >= 0 else { throw lost(handle.errorMessage) }
            if PQisBusy(handle.pointer) == 0 { break }
            try await waitForServer(alsoWrite: unsent == 1, &progress)
        }
        guard let result = PQgetResult(handle.pointer).map(ResultHandle.init) else { return nil }
        guard PQstatus(handle.pointer) == CONNECTION_OK else {
            throw lost(result.serverError(statement: 0).message)
        }
        return result
    }

    /// Waits until the server has something to say, and reads it. A passed deadline or a cancelled
    /// task asks the server to cancel; after the grace time the connection is cut.
    func waitForServer(alsoWrite: Bool, _ progress: inout Progress) async throws(PostgresError) {
        if Task.isCancelled, progress.earlyEnd == nil { ask(.cancelled, &progress) }
        switch await wait(alsoWrite: alsoWrite, until: progress.deadline) {
        case .ready:
            guard PQconsumeInput(handle.pointer) == 1 else { throw lost(handle.errorMessage) }
        case .deadline where progress.earlyEnd == nil:
            ask(.deadline, &progress)
        case .deadline:
            throw lost("the server did not answer a cancel request")
        case .interrupted:
            guard isUsable else { throw lost("it was closed") }
        }
    }

    /// Waits until no cancel request is under way: a late one would hit the next statement.
    func settleCancels() async {
        let limit = ContinuousClock.now + ConnectionLimits.cancelGrace
        while handle.cancelsUnderWay.load(ordering: .acquiring) > 0, isUsable {
            if ContinuousClock.now >= limit { return close() }
            // Nothing is expected on the socket: this is a short pause on the connection's thread.
            _ = await wait(alsoWrite: false, until: .now + .milliseconds(2))
        }
    }

    private func ask(_ end: EarlyEnd, _ progress: inout Progress) {
        progress.earlyEnd = end
        progress.deadline = .now + ConnectionLimits.cancelGrace
        handle.requestCancel()
    }

    private func wait(
        alsoWrite: Bool, until deadline: ContinuousClock.Instant
    ) async -> PostgresExecutor.Wakeup {
        guard isUsable else { return .interrupted }
        return await withCheckedContinuation {
            executor.register(handle.socket, alsoWrite: alsoWrite, deadline: deadline, $0)
        }
    }

    /// Marks the connection as dead and tells why. Something was on its way.
    func lost(_ reason: String) -> PostgresError {
        close()
        return .connectionLost(reason: reason, mayHaveRun: true)
    }

    func translated(_ failure: ServerError, _ progress: Progress) -> PostgresError {
        guard failure.sqlState == "57014", let end = progress.earlyEnd else {
            return .server(failure)
        }
        switch end {
        case .deadline: return .deadlineExceeded
        case .cancelled: return .cancelled
        }
    }
}
