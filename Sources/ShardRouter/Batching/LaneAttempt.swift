import CoreMetrics
import Logging
import Postgres
import Synchronization
import Tracing

/// One batch on one lane: repeated until the shard has answered, nobody waits any more, or the
/// shard is given up.
struct LaneAttempt {
    let lane: WriteDispatcher.Lane
    let pools: Pools
    let dispatcher: WriteDispatcher
    let limits: RouterLimits
    let metrics: ShardMetrics
    let tracing: RouterTracing
    let logger: Logger

    /// The shard's answer for each message, in order; nil where its caller has stopped waiting, or
    /// the shard was given up.
    func store(_ batch: [PendingWrite]) async -> [AppendOutcome?] {
        var answers = [AppendOutcome?](repeating: nil, count: batch.count)
        var pause = limits.firstPause
        while !Task.isCancelled {
            let open = batch.indices.filter { !batch[$0].isOver }
            guard !open.isEmpty else { return answers }
            let start = ContinuousClock.now
            do {
                let entries = open.count == batch.count ? batch : open.map { batch[$0] }
                let outcomes = try await attempt(entries)
                for (place, outcome) in zip(open, outcomes) { answers[place] = outcome }
                succeeded(rows: open.count, start: start)
                return answers
            } catch {
                let reason = RetryReason(error)
                metrics.retried(reason)
                // The shard lives: another transaction was in the way.
                if !reason.isConflict, failed(error, start: start) { return answers }
                if reason.isConflict { pause = limits.firstPause }
            }
            do {
                try await Task.sleep(for: pause * Double.random(in: 0.5...1))
            } catch {
                return answers
            }
            pause = min(pause * 2, limits.longestPause)
        }
        return answers
    }

    private func attempt(_ entries: [PendingWrite]) async throws -> [AppendOutcome] {
        let deadline = ContinuousClock.now + limits.batch
        let span = tracing.start(entries, shard: lane.shard)
        defer { span?.end() }
        // From here on the messages may be committed although their callers stop waiting.
        let before = entries.map { $0.mayHaveRun.load(ordering: .acquiring) }
        let outcome = try await pools.withConnection(to: lane.shard, deadline: deadline) {
            connection in
            entries.forEach { $0.mayHaveRun.store(true, ordering: .releasing) }
            let start = ContinuousClock.now
            do throws(PostgresError) {
                let outcomes = try await BatchAppender(shard: lane.shard)
                    .append(entries[...], connection, deadline: deadline)
                metrics.commit.record(since: start)
                return Result<[AppendOutcome], PostgresError>.success(outcomes)
            } catch {
                return .failure(error)
            }
        }
        if case .failure(let error) = outcome {
            span?.recordError(error)
            if error.repeatability != .unknownOutcome {
                for (entry, mayHaveRun) in zip(entries, before) {
                    entry.mayHaveRun.store(mayHaveRun, ordering: .releasing)
                }
            }
        }
        return try outcome.get()
    }

    private func succeeded(rows: Int, start: ContinuousClock.Instant) {
        metrics.batchRows.record(rows)
        guard dispatcher.succeeded(lane, rows: rows, start: start) else { return }
        metrics.circuitOpen.set(0)
        logger.info("shard answers again", metadata: ["shard.id": "\(lane.shard)"])
    }

    /// - Returns: whether the shard is given up.
    private func failed(_ error: any Error, start: ContinuousClock.Instant) -> Bool {
        let (isOpen, isNew) = dispatcher.failed(lane, start: start)
        if isNew {
            metrics.circuitOpen.set(1)
            metrics.circuitOpened.increment()
            logger.warning(
                "shard does not store, its messages are turned away until it does",
                metadata: ["shard.id": "\(lane.shard)", "error": "\(error)"])
        }
        return isOpen
    }
}

extension RetryReason {
    /// Whether the shard lives and only another transaction was in the way.
    var isConflict: Bool {
        switch self {
        case .deadlock, .serialization, .lock: true
        case .connection, .lost, .timeout, .readOnly, .shortage, .shutdown, .other: false
        }
    }

    init(_ error: any Error) {
        guard let error = error as? PostgresError else {
            self = .connection
            return
        }
        switch error {
        case .connectionFailed: self = .connection
        case .connectionLost: self = .lost
        case .deadlineExceeded, .cancelled: self = .timeout
        case .badConnectionString, .badParameter, .decoding: self = .other
        case .server(let error):
            switch error.sqlState {
            case "40P01": self = .deadlock
            case "40001": self = .serialization
            case "55P03": self = .lock
            case "57014": self = .timeout
            case "25006": self = .readOnly
            case "57P01", "57P02", "57P03", "57P05": self = .shutdown
            default: self = error.sqlState.hasPrefix("53") ? .shortage : .other
            }
        }
    }
}
