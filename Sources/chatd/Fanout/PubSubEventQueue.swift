import DequeModule
import ShardRouter
import Synchronization

/// What waits for the one who reads a server's events; bounded.
///
/// When the reader is too slow the oldest payloads are dropped. What says from when on a room is
/// heard is never dropped, and cannot pile up: one `.subscribed` per room, one `.disconnected`.
final class PubSubEventQueue: Sendable {
    fileprivate struct Entry {
        /// Puts payloads and news into one order.
        var ordinal: Int
        var event: PubSubEvent
        var bytes: Int
    }

    fileprivate struct State {
        var payloads: Deque<Entry> = []
        var news: Deque<Entry> = []
        /// The rooms of the `.subscribed` in `news`.
        var subscribed: Set<RoomID> = []
        var ordinal = 0
        var bytes = 0
        var dropped = 0
        var isDropping = false
        var isFinished = false
        var reader: CheckedContinuation<PubSubEvent?, Never>?
    }

    private let limits: PubSubEventLimits
    private let state = Mutex(State())

    init(limits: PubSubEventLimits = PubSubEventLimits()) {
        self.limits = limits
    }

    /// The events, for one reader. Cancelling the reader ends them for ever.
    var events: AsyncStream<PubSubEvent> {
        AsyncStream {
            await self.next()
        } onCancel: {
            self.finish()
        }
    }

    /// Payloads that the reader was too slow for.
    var droppedPayloads: Int { state.withLock { $0.dropped } }

    /// - Returns: whether payloads begin to be dropped with this one, for the first time since
    ///   the queue was empty.
    @discardableResult
    func push(_ event: PubSubEvent) -> Bool {
        let (reader, beginsToDrop) = state.withLock { state in
            guard !state.isFinished else {
                return (nil as CheckedContinuation<PubSubEvent?, Never>?, false)
            }
            if let reader = state.reader {
                state.reader = nil
                return (reader, false)
            }
            return (nil, state.append(event, limits: limits))
        }
        reader?.resume(returning: event)
        return beginsToDrop
    }

    /// What waits can still be read, then the events end.
    func finish() {
        let reader = state.withLock { state in
            state.isFinished = true
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: nil)
    }

    private func next() async -> PubSubEvent? {
        await withCheckedContinuation { continuation in
            let answer: PubSubEvent?? = state.withLock { state in
                precondition(state.reader == nil, "events have one reader")
                if let event = state.popFirst() { return event }
                if state.isFinished { return .some(nil) }
                state.reader = continuation
                return nil
            }
            if let answer { continuation.resume(returning: answer) }
        }
    }
}

extension PubSubEventQueue.State {
    fileprivate mutating func append(_ event: PubSubEvent, limits: PubSubEventLimits) -> Bool {
        ordinal += 1
        switch event {
        case .payload(let payload, let room):
            let bytes = payload.count + room.text.utf8.count
            payloads.append(.init(ordinal: ordinal, event: event, bytes: bytes))
            self.bytes += bytes
        case .subscribed(let room):
            // One that waits says it all: the shard is read after the reader takes it.
            guard subscribed.insert(room).inserted else { return false }
            news.append(.init(ordinal: ordinal, event: event, bytes: 0))
        case .disconnected:
            // Nothing that waits here is true any more.
            news.removeAll()
            subscribed.removeAll()
            news.append(.init(ordinal: ordinal, event: event, bytes: 0))
        }
        return dropOldest(limits)
    }

    private mutating func dropOldest(_ limits: PubSubEventLimits) -> Bool {
        let before = dropped
        while payloads.count > limits.payloads || bytes > limits.bytes,
            let oldest = payloads.popFirst()
        {
            bytes -= oldest.bytes
            dropped += 1
        }
        guard dropped > before, !isDropping else { return false }
        isDropping = true
        return true
    }

    fileprivate mutating func popFirst() -> PubSubEvent? {
        guard let payload = payloads.first else {
            isDropping = false
            return popNews()
        }
        if let next = news.first, next.ordinal < payload.ordinal { return popNews() }
        bytes -= payload.bytes
        return payloads.removeFirst().event
    }

    private mutating func popNews() -> PubSubEvent? {
        guard let event = news.popFirst()?.event else { return nil }
        if case .subscribed(let room) = event { subscribed.remove(room) }
        return event
    }
}
