import Logging
import NIOCore
import ShardRouter
import Synchronization

/// Hears what other servers publish: all rooms over one connection.
final class RedisSubscriber: RedisConversation {
    private struct State {
        var subscriptions = RedisSubscriptions()
        var channel: (any Channel)?
        /// Whether the event loop will look at the changes: one look for all of one turn.
        var isScheduled = false
    }

    private let envelope: RedisEnvelope
    private let limits: RedisLimits
    private let queue: PubSubEventQueue
    private let logger: Logger
    /// News are queued while it is held, so that they are in the order of what happened.
    private let state = Mutex(State())

    init(
        envelope: RedisEnvelope, limits: RedisLimits, queue: PubSubEventQueue, logger: Logger
    ) {
        self.envelope = envelope
        self.limits = limits
        self.queue = queue
        self.logger = logger
    }

    /// Whether Redis would tell us what others publish.
    var isConnected: Bool { state.withLock { $0.subscriptions.isConnected } }

    func subscribe(to room: RoomID) {
        change { state in
            if state.subscriptions.want(room) { queue.push(.subscribed(room)) }
        }
    }

    func unsubscribe(from room: RoomID) {
        change { $0.subscriptions.release(room) }
    }

    // MARK: The connection

    func begin(on channel: any Channel) {
        change { state in
            state.channel = channel
            state.subscriptions.connect()
        }
    }

    func end() {
        state.withLock { state in
            state.channel = nil
            state.subscriptions.disconnect()
            queue.push(.disconnected)
        }
    }

    /// Commands to Redis are few; nothing of them waits for the socket.
    func resume() {}

    func hear(_ reply: RedisReply) throws(RedisError) {
        switch reply {
        case .array(let parts): try hear(parts)
        case .status: break  // The answer to a PING while no room is subscribed to.
        case .error(let answer): throw .refused(command: "SUBSCRIBE", answer: answer)
        case .integer, .bulk, .null:
            throw .brokenProtocol("a subscriber is told something that it did not ask")
        }
    }

    private func hear(_ parts: [RedisReply]) throws(RedisError) {
        guard case .bulk(let kind)? = parts.first else {
            throw .brokenProtocol("a subscriber is told something without a kind")
        }
        switch (String(decoding: kind, as: UTF8.self), parts.dropFirst().first, parts.last) {
        case ("message", .bulk(let channel), .bulk(let message)) where parts.count == 3:
            deliver(message, channel: channel)
        case ("subscribe", .bulk(let channel), .integer):
            confirm(channel) { state, room in
                if state.subscriptions.confirmSubscribe(room) { queue.push(.subscribed(room)) }
            }
        case ("unsubscribe", .bulk(let channel), .integer):
            confirm(channel) { state, room in state.subscriptions.confirmUnsubscribe(room) }
        case ("pong", _, _): break
        case (_, _, _): throw .brokenProtocol("a subscriber is told something of another kind")
        }
    }

    private func deliver(_ message: [UInt8], channel: [UInt8]) {
        guard let payload = envelope.opened(message), let room = envelope.room(ofChannel: channel)
        else { return }
        let beginsToDrop = state.withLock { state in
            guard state.subscriptions.isWanted(room) else { return false }
            return queue.push(.payload(payload, room: room))
        }
        if beginsToDrop {
            logger.warning("other servers are heard faster than rooms take it, dropping the oldest")
        }
    }

    private func confirm(_ channel: [UInt8], _ body: (inout State, RoomID) -> Void) {
        guard let room = envelope.room(ofChannel: channel) else { return }
        change { body(&$0, room) }
    }

    // MARK: Telling Redis

    private func change(_ body: (inout State) -> Void) {
        let channel: (any Channel)? = state.withLock { state in
            body(&state)
            guard state.subscriptions.hasChanges, !state.isScheduled else { return nil }
            state.isScheduled = true
            return state.channel
        }
        channel?.eventLoop.execute { self.tellRedis() }
    }

    private func tellRedis() {
        let channel: (any Channel)? = state.withLock { state in
            state.isScheduled = false
            return state.channel
        }
        guard let channel else { return }
        while true {
            let commands = state.withLock { state in
                state.subscriptions.takeCommands(limit: limits.roomsPerCommand)
            }
            guard !commands.isEmpty else { break }
            var buffer = channel.allocator.buffer(capacity: 1_024)
            write("SUBSCRIBE", commands.subscribe, to: &buffer)
            write("UNSUBSCRIBE", commands.unsubscribe, to: &buffer)
            channel.write(buffer, promise: nil)
        }
        channel.flush()
    }

    private func write(_ name: StaticString, _ rooms: [RoomID], to buffer: inout ByteBuffer) {
        guard !rooms.isEmpty else { return }  // Redis reads an UNSUBSCRIBE of nothing as of all.
        RedisCommand(name, rooms.map { envelope.channel(of: $0) }).write(to: &buffer)
    }
}
