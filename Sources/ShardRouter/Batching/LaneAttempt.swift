import Postgres
import Synchronization

/// One batch on one lane: repeated until the shard has answered or nobody waits any more.
struct LaneAttempt {
    let lane: WriteDispatcher.Lane
    let pools: Pools
    let limits: RouterLimits
    let watch: ShardWatch

    /// The shard's answer for each message, in order; nil where its caller has stopped waiting.
    func store(_ batch: [PendingWrite]) async -> [AppendOutcome?] {
        var answers = [AppendOutcome?](repeating: nil, count: batch.count)
        var pause = limits.firstPause
        while !Task.isCancelled {
            let open = batch.indices.filter { answers[$0] == nil && !batch[$0].isResolved }
            guard !open.isEmpty else { return answers }
            do {
                let entries = open.map { batch[$0] }
                let outcomes = try await attempt(entries)
                for (place, outcome) in zip(open, outcomes) { answers[place] = outcome }
                watch.answered(lane.shard)
                return answers
            } catch {
                watch.failed(lane.shard, error)
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
        guard let pool = await pools.pool(lane.shard) else {
            throw ShardError.unreachable(shard: "\(lane.shard)", reason: "it is not known")
        }
        // From here on the messages may be committed although their callers stop waiting.
        let before = entries.map { $0.mayHaveRun.load(ordering: .acquiring) }
        let outcome = try await pool.withConnection(deadline: deadline) { connection in
            entries.forEach { $0.mayHaveRun.store(true, ordering: .releasing) }
            do throws(PostgresError) {
                let outcomes = try await BatchAppender(shard: lane.shard)
                    .append(entries[...], connection, deadline: deadline)
                return Result<[AppendOutcome], PostgresError>.success(outcomes)
            } catch {
                return .failure(error)
            }
        }
        if case .failure(let error) = outcome, error.repeatability != .unknownOutcome {
            for (entry, mayHaveRun) in zip(entries, before) {
                entry.mayHaveRun.store(mayHaveRun, ordering: .releasing)
            }
        }
        return try outcome.get()
    }
}
