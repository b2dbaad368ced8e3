import Instrumentation
import Synchronization

/// A message on its way to its shard, with the caller who waits for the outcome.
final class PendingWrite: Sendable {
    typealias Outcome = Result<WriteOutcome, WriteError>

    /// Who waits for the outcome.
    enum Caller {
        // Unchecked: resumed exactly once by ``resolve(_:)``, and the check costs an allocation.
        case task(UnsafeContinuation<Outcome, Never>)
        /// One of several messages that were given together, and its place among them.
        case sequence(WriteSequence, Int)

        func resume(_ outcome: Outcome) {
            switch self {
            case .task(let continuation): continuation.resume(returning: outcome)
            case .sequence(let sequence, let place): sequence.settle(place, outcome)
            }
        }
    }

    let message: Message
    let slot: Slot
    /// When it was handed to the router.
    let start: ContinuousClock.Instant
    let deadline: ContinuousClock.Instant
    /// Whether it may go to the overflow when its shard is out of reach.
    let mayOverflow: Bool
    /// What it costs in a queue and in a batch, in bytes.
    let bytes: Int
    /// The caller's trace.
    let context: ServiceContext?
    /// Whether an attempt of it may have been committed.
    let mayHaveRun = Atomic<Bool>(false)
    /// Whether it was ever sent, so that it may be in the shard already.
    let wasSent = Atomic<Bool>(false)
    /// Whether the overflow was asked to take it; no lane sends it any more.
    let isDiverted = Atomic<Bool>(false)
    private let caller: Mutex<Caller?>

    init(
        _ message: Message, slot: Slot, start: ContinuousClock.Instant,
        deadline: ContinuousClock.Instant, mayOverflow: Bool = false,
        context: ServiceContext? = nil, caller: Caller?
    ) {
        self.message = message
        self.slot = slot
        self.start = start
        self.deadline = deadline
        self.mayOverflow = mayOverflow
        self.context = context
        // Beside the texts: the entry itself, the id, times and places in arrays.
        bytes = message.text.utf8.count + message.author.utf8.count + 64
        self.caller = Mutex(caller)
    }

    /// Tells the caller. Only the first outcome counts.
    func resolve(_ outcome: Outcome) {
        let caller = caller.withLock { caller in
            defer { caller = nil }
            return caller
        }
        caller?.resume(outcome)
    }

    /// Whether the caller has been told.
    var isResolved: Bool { caller.withLock { $0 == nil } }

    /// Whether no lane needs to send it: its caller has been told, or the overflow tells him.
    var isOver: Bool { isDiverted.load(ordering: .acquiring) || isResolved }

    /// Whether no lane begins to send it now.
    ///
    /// Messages that were given together have one deadline, but their callers are told one after
    /// the other. The clock is read after ``isOver``: whoever finds the first one told finds that
    /// the second one is late, and does not send it without the first.
    var isPast: Bool { isOver || (!mayOverflow && deadline <= .now) }

    /// Tells the caller that the message was not stored, or may have been.
    func fail(_ error: WriteError, shard: ShardID, reason: String) {
        let isUnknown = mayHaveRun.load(ordering: .acquiring)
        resolve(.failure(isUnknown ? .unknownOutcome(shard: shard, reason: reason) : error))
    }

    /// Tells the caller that the shard was out of reach for too long.
    func expire(shard: ShardID, reason: String, retryAfter: Duration) {
        fail(
            .unavailable(shard: shard, reason: reason, retryAfter: retryAfter), shard: shard,
            reason: reason)
    }

    /// Hands the message over to `overflow`, which tells the caller.
    func divert(to overflow: any WriteOverflow, shard: ShardID, retryAfter: Duration) {
        guard !isDiverted.exchange(true, ordering: .acquiringAndReleasing) else { return }
        overflow.take(message) { [self] outcome in
            switch outcome {
            case .success:
                resolve(.success(.queued))
            case .failure(.conflict):
                resolve(.failure(.conflict(id: message.id)))
            case .failure(.full):
                fail(
                    .overloaded(shard: shard, retryAfter: retryAfter), shard: shard,
                    reason: "the shard is out of reach and the overflow is full")
            case .failure(.unusable(let reason)):
                expire(
                    shard: shard,
                    reason: "the shard is out of reach and the overflow cannot be used: \(reason)",
                    retryAfter: retryAfter)
            }
        }
    }
}
