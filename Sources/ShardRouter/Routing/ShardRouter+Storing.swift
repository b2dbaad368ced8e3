import CoreMetrics
import Glibc
import Tracing

extension ShardRouter {
    /// Stores `message` and returns when its shard has committed it.
    ///
    /// The messages of one room are stored in the order of the calls. A repeated id with the same
    /// author and text gives the receipt of the first time.
    ///
    /// - Parameters:
    ///   - message: what is stored.
    ///   - patience: the longest wait, retries included.
    /// - Throws: ``WriteError``. After `unknownOutcome` the row may be there: storing the same id
    ///   again is safe after any of them.
    /// - Note: Cancelling the task does not take the message back. Passes the overflow by.
    public func store(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> Receipt {
        try await write(message, patience: patience, mayOverflow: false).receipt
    }

    /// Stores `message`, or hands it to the overflow when its shard is out of reach; returns when
    /// it is durable in one of them.
    ///
    /// The messages of a room keep the order of the calls: while earlier ones wait in the overflow,
    /// later ones go there too. Without an overflow this is ``store(_:patience:)``.
    ///
    /// - Parameters:
    ///   - message: what is stored.
    ///   - patience: how long its shard is waited for. The overflow takes its own time.
    /// - Throws: ``WriteError``: nothing was kept, except after `unknownOutcome`, when the message
    ///   may be stored. The same id may be given again after any of them.
    public func accept(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> WriteOutcome {
        try await write(message, patience: patience, mayOverflow: configuration.overflow != nil)
    }

    /// Stores messages of one room in their order, and returns when all have an outcome.
    ///
    /// When one is not stored for want of time or room in the queue, none of those after it is: no
    /// message overtakes another. One that its shard refuses for good does not stop the others.
    ///
    /// - Parameters:
    ///   - messages: of one room.
    ///   - patience: the longest wait for all of them, retries included.
    /// - Returns: for each message, in the same order, what ``store(_:patience:)`` would have
    ///   returned or thrown.
    /// - Note: Cancelling the task does not take messages back. Passes the overflow by.
    public func storeInOrder(
        _ messages: [Message], patience: Duration
    ) async -> [Result<Receipt, WriteError>] {
        guard let room = messages.first?.room else { return [] }
        precondition(messages.allSatisfy { $0.room == room }, "the messages are of one room")
        let (slot, shard) = route(room)
        guard let shard else {
            return messages.map { _ in .failure(unowned(slot)) }
        }
        let refusals = messages.map { unstorable($0) }
        let fit = messages.indices.filter { refusals[$0] == nil }
        let start = ContinuousClock.now
        var outcomes: [PendingWrite.Outcome] = []
        if !fit.isEmpty {
            outcomes = await withUnsafeContinuation { (caller: WriteSequence.Caller) in
                let sequence = WriteSequence(count: fit.count, caller: caller)
                let entries = fit.enumerated().map { place, index in
                    PendingWrite(
                        messages[index], slot: slot, start: start, deadline: start + patience,
                        caller: .sequence(sequence, place))
                }
                dispatcher.offer(entries, owner: shard)
            }
        }
        outcomes.forEach { measure($0, shard, start) }
        var answers = outcomes.makeIterator()
        return refusals.map { refusal in
            if let refusal { return .failure(refusal) }
            return answers.next().map { $0.map(\.receipt) } ?? .failure(.stopped)
        }
    }

    private func write(
        _ message: Message, patience: Duration, mayOverflow: Bool
    ) async throws(WriteError) -> WriteOutcome {
        let (slot, shard) = route(message.room)
        guard let shard else { throw unowned(slot) }
        if let refusal = unstorable(message) { throw refusal }
        let span = tracing.start("router.store", room: message.room)
        let start = ContinuousClock.now
        let outcome = await withUnsafeContinuation { continuation in
            dispatcher.offer(
                PendingWrite(
                    message, slot: slot, start: start, deadline: start + patience,
                    mayOverflow: mayOverflow, context: span?.context,
                    caller: .task(continuation)),
                owner: shard)
        }
        let label = measure(outcome, shard, start)
        if let span {
            span.attributes["shard.id"] = shard.number
            span.attributes["outcome"] = label.rawValue
            span.end()
        }
        return try outcome.get()
    }

    private func unowned(_ slot: Slot) -> WriteError {
        .unavailable(
            shard: ShardID(0), reason: "no shard owns slot \(slot)",
            retryAfter: limits.longestPause)
    }

    /// Why no shard can ever store `message`; nil for others.
    private func unstorable(_ message: Message) -> WriteError? {
        guard message.event == nil else {
            return .refused(
                id: message.id, reason: "an event is stored by a transaction of its own",
                sqlState: nil)
        }
        guard
            message.text.hasNUL || message.author.hasNUL || message.room.text.hasNUL
        else { return nil }
        return .refused(
            id: message.id, reason: "PostgreSQL text cannot hold a NUL character", sqlState: nil)
    }

    @discardableResult
    private func measure(
        _ outcome: PendingWrite.Outcome, _ shard: ShardID, _ start: ContinuousClock.Instant
    ) -> WriteLabel {
        let label = WriteLabel(outcome)
        if let metrics = metrics[shard] {
            metrics.write.record(since: start)
            metrics.wrote(label)
        }
        return label
    }
}

extension String {
    /// Whether there is a NUL character in it; a few nanoseconds where the bytes lie in one piece.
    fileprivate var hasNUL: Bool {
        utf8.withContiguousStorageIfAvailable { bytes in
            bytes.baseAddress.map { memchr($0, 0, bytes.count) != nil } ?? false
        } ?? utf8.contains(0)
    }
}
