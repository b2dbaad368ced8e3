import DequeModule
import Logging
import NIOCore
import ShardRouter
import Synchronization

/// Hears what other servers publish: all rooms of one Redis over one connection.
final class RedisSubscriber: RedisConversation {
    fileprivate struct Asked: Equatable {
        var room: RoomID
        var subscribes: Bool
    }

    fileprivate struct State {
        var subscriptions = RedisSubscriptions()
        var channel: (any Channel)?
        /// Whether the connection's Redis is part of a cluster.
        var isSharded = false
        /// What a cluster's node has not answered yet: refusals do not name their room.
        var asked: Deque<Asked> = []
        /// Whether the event loop will look at the changes: one look for all of one turn.
        var isScheduled = false
    }

    private let address: RedisAddress
    private let envelope: RedisEnvelope
    private let limits: RedisLimits
    private let queue: PubSubEventQueue
    private weak let links: RedisLinks?
    private let logger: Logger
    /// News are queued while it is held, so that they are in the order of what happened.
    private let state = Mutex(State())

    init(
        _ address: RedisAddress, envelope: RedisEnvelope, limits: RedisLimits,
        queue: PubSubEventQueue, links: RedisLinks, logger: Logger
    ) {
        self.address = address
        self.links = links
        self.envelope = envelope
        self.limits = limits
        self.queue = queue
        self.logger = logger
    }

    /// Whether Redis would tell us what others publish.
    var isConnected: Bool { state.withLock { $0.subscriptions.isConnected } }

    /// Whether Redis tells us what others publish in `room`.
    func hears(_ room: RoomID) -> Bool { state.withLock { $0.subscriptions.isHeard(room) } }

    func subscribe(to room: RoomID) {
        change { state in
            if state.subscriptions.want(room) { queue.push(.subscribed(room)) }
        }
    }

    func unsubscribe(from room: RoomID) {
        change { $0.subscriptions.release(room) }
    }

    /// Asks again for rooms that the node refused.
    func retry() {
        change { $0.subscriptions.retry() }
    }

    // MARK: The connection

    var question: RedisCommand { RedisCommand("PING") }

    func begin(on channel: any Channel, slots: RedisSlots?) {
        // First, so that rooms of other nodes are not asked for here.
        links?.learned(slots, from: address)
        change { state in
            state.channel = channel
            state.isSharded = slots != nil
            state.subscriptions.connect()
        }
    }

    func end() {
        state.withLock { state in
            state.channel = nil
            state.asked = []
            state.subscriptions.disconnect()
        }
        links?.ended(address)
    }

    /// Commands to Redis are few; nothing of them waits for the socket.
    func resume() {}

    func hear(_ reply: RedisReply) throws(RedisError) {
        switch reply {
        case .array(let parts): try hear(parts)
        case .status: break  // The answer to a PING while no room is subscribed to.
        case .error(let answer) where RedisError.isOfAnotherNode(answer):
            refused()
            links?.doubted()
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
        case ("message", .bulk(let channel), .bulk(let message)) where parts.count == 3,
            ("smessage", .bulk(let channel), .bulk(let message)) where parts.count == 3:
            deliver(message, channel: channel)
        case ("subscribe", .bulk(let channel), .integer),
            ("ssubscribe", .bulk(let channel), .integer):
            confirm(channel) { state, room in
                state.take(Asked(room: room, subscribes: true))
                if state.subscriptions.confirmSubscribe(room) { queue.push(.subscribed(room)) }
            }
        case ("unsubscribe", .bulk(let channel), .integer):
            confirm(channel) { state, room in state.subscriptions.confirmUnsubscribe(room) }
        case ("sunsubscribe", .bulk(let channel), .integer): letGo(channel)
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

    /// A node has let a room go: as it was told to, or because it does not have it any more.
    private func letGo(_ channel: [UInt8]) {
        var isAsked = true
        confirm(channel) { state, room in
            isAsked = state.take(Asked(room: room, subscribes: false))
            if isAsked {
                state.subscriptions.confirmUnsubscribe(room)
            } else {
                state.subscriptions.loseRoom(room)
            }
        }
        if !isAsked { links?.doubted() }
    }

    /// The oldest command that is not answered was refused, since the node does not have the room.
    private func refused() {
        change { state in
            guard let asked = state.asked.popFirst() else { return }
            if asked.subscribes {
                state.subscriptions.refuseSubscribe(asked.room)
            } else {
                state.subscriptions.confirmUnsubscribe(asked.room)
            }
        }
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
            let (commands, isSharded) = state.withLock { state in
                let commands = state.subscriptions.takeCommands(limit: limits.roomsPerCommand)
                if state.isSharded { state.note(commands) }
                return (commands, state.isSharded)
            }
            guard !commands.isEmpty else { break }
            var buffer = channel.allocator.buffer(capacity: 1_024)
            if isSharded {
                // One for each: rooms of one command would have to share a slot.
                for room in commands.subscribe { write("SSUBSCRIBE", [room], to: &buffer) }
                for room in commands.unsubscribe { write("SUNSUBSCRIBE", [room], to: &buffer) }
            } else {
                write("SUBSCRIBE", commands.subscribe, to: &buffer)
                write("UNSUBSCRIBE", commands.unsubscribe, to: &buffer)
            }
            channel.write(buffer, promise: nil)
        }
        channel.flush()
    }

    private func write(_ name: StaticString, _ rooms: [RoomID], to buffer: inout ByteBuffer) {
        guard !rooms.isEmpty else { return }  // Redis reads an UNSUBSCRIBE of nothing as of all.
        RedisCommand(name, rooms.map { envelope.channel(of: $0) }).write(to: &buffer)
    }
}

extension RedisSubscriber.State {
    fileprivate mutating func note(_ commands: RedisSubscriptions.Commands) {
        asked += commands.subscribe.map { .init(room: $0, subscribes: true) }
        asked += commands.unsubscribe.map { .init(room: $0, subscribes: false) }
    }

    /// - Returns: whether that was asked for.
    @discardableResult
    fileprivate mutating func take(_ answered: RedisSubscriber.Asked) -> Bool {
        guard let place = asked.firstIndex(of: answered) else { return false }
        asked.remove(at: place)
        return true
    }
}
