import CLibpq

extension PostgresConnection {
    /// Runs one command of the simple protocol and returns its cells as text: what a replication
    /// connection (`replication=database`) understands.
    public func command(
        _ sql: String, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [[String?]] {
        try await alone { () async throws(PostgresError) -> [[String?]] in
            try await self.runCommand(sql, deadline: deadline)
        }
    }

    /// Runs `START_REPLICATION` and hands each message of the server to `body`, whose answer, if it
    /// has one, is sent back. Goes on until the task is cancelled, `body` throws or the connection
    /// ends; the connection is closed then.
    public func replicate(
        _ sql: String,
        _ body: @Sendable (_ message: [UInt8]) async throws -> [UInt8]?
    ) async throws {
        defer { close() }
        let failure = try await alone { () async throws(PostgresError) -> (any Error)? in
            try await self.runReplication(sql, body)
        }
        if let failure { throw failure }
    }

    private func runCommand(
        _ sql: String, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [[String?]] {
        try leavePipelineMode()
        guard PQsendQuery(handle.pointer, sql) == 1 else { throw lost(handle.errorMessage) }
        var progress = Progress(deadline: deadline)
        var cells: [[String?]] = []
        var failure: ServerError?
        while let result = try await nextResult(&progress) {
            switch result.status {
            case PGRES_TUPLES_OK: cells += Self.texts(result)
            case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH: throw lost("a command cannot COPY")
            default: failure = failure ?? result.serverError(statement: 0)
            }
        }
        try enterPipelineMode()
        if let failure { throw translated(failure, progress) }
        return cells
    }

    private static func texts(_ result: ResultHandle) -> [[String?]] {
        (0..<PQntuples(result.pointer)).map { row in
            (0..<PQnfields(result.pointer)).map { column in
                PQgetisnull(result.pointer, row, column) == 1
                    ? nil : String(cString: PQgetvalue(result.pointer, row, column))
            }
        }
    }

    private func runReplication(
        _ sql: String, _ body: @Sendable (_ message: [UInt8]) async throws -> [UInt8]?
    ) async throws(PostgresError) -> (any Error)? {
        var progress = Progress(deadline: .now + .seconds(365 * 86_400))
        try await startCopy(sql, expecting: PGRES_COPY_BOTH, &progress)
        while true {
            guard let message = try await nextMessage(&progress) else {
                let end = try await finishCopy(&progress)
                if let error = end.error { throw translated(error, progress) }
                return nil
            }
            do {
                guard let answer = try await body(message) else { continue }
                try await put(answer, deadline: .now + .seconds(30))
            } catch {
                return error
            }
        }
    }

    private func nextMessage(_ progress: inout Progress) async throws(PostgresError) -> [UInt8]? {
        while true {
            guard !Task.isCancelled else { throw .cancelled }
            var buffer: UnsafeMutablePointer<CChar>?
            let count = PQgetCopyData(handle.pointer, &buffer, 1)
            if count > 0, let buffer {
                defer { PQfreemem(buffer) }
                return Array(UnsafeRawBufferPointer(start: buffer, count: Int(count)))
            }
            if count < 0 { return nil }
            try await waitForServer(alsoWrite: false, &progress)
        }
    }
}
