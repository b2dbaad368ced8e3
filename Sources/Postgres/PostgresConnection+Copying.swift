import CLibpq

extension PostgresConnection {
    /// Runs a `COPY … TO STDOUT` and hands its bytes to `body`, piece by piece; the next piece is
    /// taken when `body` has returned.
    ///
    /// When `body` throws, the copy is cancelled, the connection stays usable, and the error is
    /// thrown on.
    public func copyOut(
        _ sql: String, deadline: ContinuousClock.Instant,
        _ body: @Sendable (_ chunk: [UInt8]) async throws -> Void
    ) async throws {
        let failure = try await alone { () async throws(PostgresError) -> (any Error)? in
            try await self.runCopyOut(sql, deadline: deadline, body)
        }
        if let failure { throw failure }
    }

    /// Runs a `COPY … FROM STDIN` with what `body` writes, and returns the number of rows.
    ///
    /// When `body` throws, nothing is stored, the connection stays usable, and the error is thrown
    /// on.
    public func copyIn(
        _ sql: String, deadline: ContinuousClock.Instant,
        _ body: @Sendable (CopyWriter) async throws -> Void
    ) async throws -> Int {
        let outcome = try await alone { () async throws(PostgresError) -> CopyOutcome in
            try await self.runCopyIn(sql, deadline: deadline, body)
        }
        if let failure = outcome.failure { throw failure }
        return outcome.rows
    }

    private func runCopyOut(
        _ sql: String, deadline: ContinuousClock.Instant,
        _ body: @Sendable (_ chunk: [UInt8]) async throws -> Void
    ) async throws(PostgresError) -> (any Error)? {
        var progress = Progress(deadline: deadline)
        try await startCopy(sql, expecting: PGRES_COPY_OUT, &progress)
        var failure: (any Error)?
        while let chunk = try await nextChunk(&progress) {
            guard failure == nil else { continue }  // The rest drains until the cancel arrives.
            do {
                try await body(chunk)
            } catch {
                failure = error
                handle.requestCancel()
                progress.deadline = .now + ConnectionLimits.cancelGrace
            }
        }
        let end = try await finishCopy(&progress)
        if let failure { return failure }
        if let error = end.error { throw translated(error, progress) }
        return nil
    }

    /// As many rows as have arrived, up to a bound: the server sends each by itself, and handing them
    /// over one by one would cost more than the copy.
    private func nextChunk(_ progress: inout Progress) async throws(PostgresError) -> [UInt8]? {
        var chunk: [UInt8] = []
        while true {
            var buffer: UnsafeMutablePointer<CChar>?
            let count = PQgetCopyData(handle.pointer, &buffer, 1)
            if count > 0, let buffer {
                defer { PQfreemem(buffer) }
                if chunk.isEmpty { chunk.reserveCapacity(ConnectionLimits.copyBytes * 5 / 4) }
                chunk.append(contentsOf: UnsafeRawBufferPointer(start: buffer, count: Int(count)))
                if chunk.count < ConnectionLimits.copyBytes { continue }
            }
            if !chunk.isEmpty { return chunk }
            if count < 0 { return nil }
            try await waitForServer(alsoWrite: false, &progress)
        }
    }

    private struct CopyOutcome: Sendable {
        var rows: Int
        var failure: (any Error)?
    }

    private func runCopyIn(
        _ sql: String, deadline: ContinuousClock.Instant,
        _ body: @Sendable (CopyWriter) async throws -> Void
    ) async throws(PostgresError) -> CopyOutcome {
        var progress = Progress(deadline: deadline)
        try await startCopy(sql, expecting: PGRES_COPY_IN, &progress)
        var failure: (any Error)?
        do {
            try await body(CopyWriter(connection: self, deadline: deadline))
        } catch {
            failure = error
        }
        try await endCopyIn(reason: failure == nil ? nil : "the writer gave up", &progress)
        let end = try await finishCopy(&progress)
        if let failure { return CopyOutcome(rows: 0, failure: failure) }
        if let error = end.error { throw translated(error, progress) }
        return CopyOutcome(rows: end.rows)
    }

    /// Takes one piece of a `COPY FROM STDIN`; waits while libpq's buffer is full.
    func put(
        _ bytes: [UInt8], deadline: ContinuousClock.Instant
    ) async throws(PostgresError) {
        var progress = Progress(deadline: deadline)
        while true {
            let taken = bytes.withUnsafeBytes {
                PQputCopyData(
                    handle.pointer, $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                    Int32(bytes.count))
            }
            guard taken >= 0 else { throw lost(handle.errorMessage) }
            while true {
                let unsent = PQflush(handle.pointer)
                guard unsent >= 0 else { throw lost(handle.errorMessage) }
                if unsent == 0 { break }
                try await waitForServer(alsoWrite: true, &progress)
            }
            if taken == 1 { return }
        }
    }

    private func endCopyIn(
        reason: String?, _ progress: inout Progress
    ) async throws(PostgresError) {
        while true {
            let taken = PQputCopyEnd(handle.pointer, reason)
            guard taken >= 0 else { throw lost(handle.errorMessage) }
            if taken == 1 { return }
            try await waitForServer(alsoWrite: true, &progress)
        }
    }

    func startCopy(
        _ sql: String, expecting status: ExecStatusType, _ progress: inout Progress
    ) async throws(PostgresError) {
        try leavePipelineMode()
        guard PQsendQuery(handle.pointer, sql) == 1 else { throw lost(handle.errorMessage) }
        guard let result = try await nextResult(&progress) else { throw lost("no answer") }
        guard result.status != status else { return }
        guard result.status == PGRES_FATAL_ERROR else {
            throw lost("the statement is no COPY in this direction")
        }
        let failure = result.serverError(statement: 0)
        while try await nextResult(&progress) != nil {}
        try enterPipelineMode()
        throw translated(failure, progress)
    }

    func finishCopy(
        _ progress: inout Progress
    ) async throws(PostgresError) -> (rows: Int, error: ServerError?) {
        var rows = 0
        var error: ServerError?
        while let result = try await nextResult(&progress) {
            if result.status == PGRES_COMMAND_OK {
                rows = Rows(result: result).affectedRows
            } else {
                error = error ?? result.serverError(statement: 0)
            }
        }
        try enterPipelineMode()
        return (rows, error)
    }
}

/// Takes the bytes of a `COPY … FROM STDIN`.
public struct CopyWriter: Sendable {
    let connection: PostgresConnection
    let deadline: ContinuousClock.Instant

    /// Sends `bytes`; waits while the server is slower than the writer. Any split of the stream
    /// will do.
    public func write(_ bytes: [UInt8]) async throws(PostgresError) {
        try await connection.put(bytes, deadline: deadline)
    }
}
