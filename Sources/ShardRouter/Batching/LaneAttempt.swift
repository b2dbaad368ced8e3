import CoreMetrics
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

    /// The shard's answer for each message, in order; nil where its caller has stopped waiting, or
    /// the shard was given up.
    func store(_ batch: [PendingWrite]) async -> [AppendOutcome?] {
        var answers = [AppendOutcome?](repeating: nil, count: batch.count)
        var pause = limits.firstPause
        while !Task.isCancelled {
            let open = batch.indices.filter { answers[$0] == nil && !batch[$0].isPast }
            guard !open.isEmpty else { return answers }
            let start = ContinuousClock.now
            let entries = open.count == batch.count ? batch : open.map { batch[$0] }
            let (outcomes, failure) = await attempt(entries)
            for (place, outcome) in zip(open, outcomes) { answers[place] = outcome }
            guard let failure else {
                metrics.batchRows.record(open.count)
                dispatcher.succeeded(lane, rows: open.count, start: start)
                return answers
            }
            let reason = RetryReason(failure)
            metrics.retried(reason)
            if reason.isOfShard {
                if dispatcher.failed(lane, start: start, reason: "\(failure)") { return answers }
            } else {
                dispatcher.ended(lane)
                pause = limits.firstPause
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

    /// Sends `entries` once.
    ///
    /// - Returns: what became of them, nil where it is not known; and why not, if any.
    private func attempt(
        _ entries: [PendingWrite]
    ) async -> (outcomes: [AppendOutcome?], failure: (any Error)?) {
        let deadline = ContinuousClock.now + limits.batch
        let span = tracing.start(entries, shard: lane.shard)
        defer { span?.end() }
        // From here on the messages may be committed although their callers stop waiting.
        let before = entries.map { $0.mayHaveRun.load(ordering: .acquiring) }
        let nothing = [AppendOutcome?](repeating: nil, count: entries.count)
        do {
            let (outcomes, failure) = try await pools.withConnection(
                to: lane.shard, deadline: deadline
            ) { connection in
                await send(entries, connection, deadline: deadline)
            }
            if let failure {
                span?.recordError(failure)
                guard failure.repeatability != .unknownOutcome else { return (outcomes, failure) }
                for (index, entry) in entries.enumerated() where outcomes[index] == nil {
                    entry.mayHaveRun.store(before[index], ordering: .releasing)
                }
            }
            return (outcomes, failure)
        } catch {
            span?.recordError(error)
            return (nothing, error)
        }
    }

    private func send(
        _ entries: [PendingWrite], _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async -> (outcomes: [AppendOutcome?], failure: PostgresError?) {
        entries.forEach { $0.mayHaveRun.store(true, ordering: .releasing) }
        let start = ContinuousClock.now
        dispatcher.sent(lane, at: start)
        var outcomes = [AppendOutcome?](repeating: nil, count: entries.count)
        do throws(PostgresError) {
            try await BatchAppender(shard: lane.shard)
                .append(entries[...], connection, deadline: deadline, into: &outcomes)
            metrics.commit.record(since: start)
            return (outcomes, nil)
        } catch {
            return (outcomes, error)
        }
    }
}

extension RetryReason {
    /// Whether it tells against the shard. Otherwise the shard lives, and another transaction was
    /// in the way or the router's own callers had all connections.
    var isOfShard: Bool {
        switch self {
        case .deadlock, .serialization, .lock, .busy: false
        case .connection, .lost, .timeout, .readOnly, .shortage, .shutdown, .other: true
        }
    }

    init(_ error: any Error) {
        guard let error = error as? PostgresError else {
            if let error = error as? ShardError, case .busy = error {
                self = .busy
            } else {
                self = .connection
            }
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
