import Synchronization

/// A message on its way to its shard, with the caller who waits for the outcome.
final class PendingWrite: Sendable {
    let message: Message
    let slot: Slot
    let deadline: ContinuousClock.Instant
    /// Whether an attempt of it may have been committed.
    let mayHaveRun = Atomic<Bool>(false)
    private let caller: Mutex<CheckedContinuation<Result<Receipt, WriteError>, Never>?>

    init(
        _ message: Message, slot: Slot, deadline: ContinuousClock.Instant,
        caller: CheckedContinuation<Result<Receipt, WriteError>, Never>?
    ) {
        self.message = message
        self.slot = slot
        self.deadline = deadline
        self.caller = Mutex(caller)
    }

    /// What it costs in a queue and in a batch, in bytes.
    var bytes: Int { message.text.utf8.count + message.author.utf8.count + 64 }

    /// Tells the caller. Only the first outcome counts.
    func resolve(_ outcome: Result<Receipt, WriteError>) {
        let caller = caller.withLock { caller in
            defer { caller = nil }
            return caller
        }
        caller?.resume(returning: outcome)
    }

    /// Whether the caller has been told.
    var isResolved: Bool { caller.withLock { $0 == nil } }

    /// Tells the caller that its patience has ended.
    func expire(shard: ShardID, reason: String) {
        let isUnknown = mayHaveRun.load(ordering: .acquiring)
        resolve(
            .failure(
                isUnknown
                    ? .unknownOutcome(shard: shard, reason: reason)
                    : .unavailable(shard: shard, reason: reason)))
    }
}
