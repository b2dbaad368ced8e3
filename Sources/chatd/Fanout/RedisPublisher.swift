import DequeModule
import Logging
import NIOCore
import ShardRouter
import Synchronization

/// Tells other servers: a bounded queue, and one connection that never waits for an answer.
final class RedisPublisher: RedisConversation {
    /// Something that waits to be sent.
    struct Entry {
        var payload: [UInt8]
        var room: RoomID
        var queued: ContinuousClock.Instant

        fileprivate var bytes: Int { payload.count + room.text.utf8.count }
    }

    private struct State {
        /// More than the limits drop the oldest.
        var queue: Deque<Entry> = []
        var bytes = 0
        var dropped = 0
        var channel: (any Channel)?
        /// Whether the connection's Redis is part of a cluster.
        var isSharded = false
        /// When the cluster was last asked for its form.
        var asked: ContinuousClock.Instant?
        /// Whether the event loop will look at the queue: one look, one flush for all of one turn.
        var isScheduled = false
    }

    private let address: RedisAddress
    private let envelope: RedisEnvelope
    private let limits: RedisLimits
    private weak let links: RedisLinks?
    private let logger: Logger
    private let state = Mutex(State())
    /// Whether Redis has refused the last payload; said once.
    private let isRefused = Atomic<Bool>(false)

    init(
        _ address: RedisAddress, envelope: RedisEnvelope, limits: RedisLimits, links: RedisLinks,
        logger: Logger
    ) {
        self.address = address
        self.links = links
        self.envelope = envelope
        self.limits = limits
        self.logger = logger
    }

    /// Whether Redis takes what is published.
    var isConnected: Bool {
        !isRefused.load(ordering: .relaxed) && state.withLock { $0.channel != nil }
    }

    /// Payloads that were never sent: too many waited, or for too long.
    var droppedPayloads: Int { state.withLock { $0.dropped } }

    /// Payloads that wait to be sent.
    var queuedPayloads: Int { state.withLock { $0.queue.count } }

    func publish(_ payload: [UInt8], to room: RoomID) {
        enqueue(Entry(payload: payload, room: room, queued: .now))
    }

    /// A full queue drops the oldest.
    func enqueue(_ entry: Entry) {
        schedule { state in
            state.queue.append(entry)
            state.bytes += entry.bytes
            while state.queue.count > limits.queuedPayloads || state.bytes > limits.queuedBytes,
                let oldest = state.queue.popFirst()
            {
                state.bytes -= oldest.bytes
                state.dropped += 1
            }
        }
    }

    /// Everything that waits, for another connection.
    func takeQueue() -> [Entry] {
        state.withLock { state in
            defer {
                state.queue.removeAll()
                state.bytes = 0
            }
            return Array(state.queue)
        }
    }

    // MARK: The connection

    var question: RedisCommand {
        state.withLock { $0.isSharded } ? .slots : RedisCommand("PING")
    }

    func begin(on channel: any Channel, slots: RedisSlots?) {
        state.withLock { $0.isSharded = slots != nil }
        // First, since what waits here may now be for another node.
        links?.learned(slots, from: address)
        schedule { $0.channel = channel }
    }

    /// Asks the cluster for its form, unless it was asked just now.
    func askForSlots() {
        let channel: (any Channel)? = state.withLock { state in
            guard state.isSharded, let channel = state.channel else { return nil }
            if let asked = state.asked, .now - asked < limits.doubt { return nil }
            state.asked = .now
            return channel
        }
        channel?.eventLoop.execute {
            guard let channel else { return }
            var buffer = channel.allocator.buffer(capacity: 64)
            RedisCommand.slots.write(to: &buffer)
            channel.writeAndFlush(buffer, promise: nil)
        }
    }

    func end() {
        state.withLock { $0.channel = nil }
        isRefused.store(false, ordering: .relaxed)
    }

    func resume() {
        schedule { _ in }
    }

    func hear(_ reply: RedisReply) throws(RedisError) {
        switch reply {
        case .integer: isRefused.store(false, ordering: .relaxed)
        case .status: break  // The answer to a PING.
        case .error(let answer) where RedisError.isOfAnotherNode(answer):
            // What was published is lost on this way; `seq` and the shard bring it.
            links?.doubted()
        case .array where state.withLock({ $0.isSharded }):
            guard let slots = RedisSlots(reply, from: address) else {
                throw .brokenProtocol("an unexpected answer to CLUSTER SLOTS")
            }
            links?.learned(slots, from: address)
        case .error(let answer):
            guard !isRefused.exchange(true, ordering: .relaxed) else { return }
            logger.warning(
                "Redis refuses what other servers should hear", metadata: ["error": "\(answer)"])
        case .bulk, .null, .array:
            throw .brokenProtocol("a publisher is told something that it did not ask")
        }
    }

    // MARK: Sending

    private func schedule(_ body: (inout State) -> Void) {
        let channel: (any Channel)? = state.withLock { state in
            body(&state)
            guard !state.queue.isEmpty, !state.isScheduled, let channel = state.channel else {
                return nil
            }
            state.isScheduled = true
            return channel
        }
        channel?.eventLoop.execute { self.send() }
    }

    /// Writes as much as the socket takes; ``resume()`` brings the rest.
    private func send() {
        let (channel, isSharded) = state.withLock { state in
            state.isScheduled = false
            return (state.channel, state.isSharded)
        }
        guard let channel else { return }
        while channel.isWritable {
            let entries = takeEntries()
            guard !entries.isEmpty else { break }
            var buffer = channel.allocator.buffer(
                capacity: entries.reduce(0) { $0 + $1.bytes + 128 })
            for entry in entries {
                RedisCommand(
                    isSharded ? "SPUBLISH" : "PUBLISH",
                    [envelope.channel(of: entry.room), envelope.sealed(entry.payload)]
                ).write(to: &buffer)
            }
            channel.write(buffer, promise: nil)
        }
        channel.flush()
    }

    /// About one write's worth; skips what has waited for too long.
    private func takeEntries() -> [Entry] {
        let oldest = ContinuousClock.now - limits.payloadAge
        return state.withLock { state in
            var entries: [Entry] = []
            var bytes = 0
            while bytes < limits.writeBytes, let entry = state.queue.popFirst() {
                state.bytes -= entry.bytes
                guard entry.queued >= oldest else {
                    state.dropped += 1
                    continue
                }
                bytes += entry.bytes
                entries.append(entry)
            }
            return entries
        }
    }
}
