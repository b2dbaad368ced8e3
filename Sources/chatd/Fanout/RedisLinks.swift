import Logging
import ShardRouter
import Synchronization

/// The links to one Redis, or to each node of a Redis cluster; and which room goes over which.
///
/// What Redis is, it says itself at every connection. A single Redis has one link, the one that the
/// URL names. In a cluster every node with slots has one, and each room goes over the link of
/// the node that has its channel's slot. Rooms that change their node are subscribed to anew.
final class RedisLinks: Sendable {
    private struct State {
        var links: [RedisAddress: RedisLink] = [:]
        /// The rooms that are to be heard, and over which link.
        var rooms: [RoomID: RedisAddress] = [:]
        /// What each node says about the cluster.
        var views: [RedisAddress: RedisSlots] = [:]
        /// The view that counts; nil while Redis is single, or nothing is known.
        var slots: RedisSlots?
    }

    private let home: RedisAddress
    private let envelope: RedisEnvelope
    private let queue: PubSubEventQueue
    private let logger: Logger
    private let makeLink: @Sendable (RedisAddress, RedisLinks) -> RedisLink
    private let state = Mutex(State())
    private let (started, start) = AsyncStream<RedisLink>.makeStream()

    /// - Parameters:
    ///   - home: the Redis that the URL names.
    ///   - makeLink: makes a link whose conversations tell these links what they learn.
    init(
        home: RedisAddress, envelope: RedisEnvelope, queue: PubSubEventQueue, logger: Logger,
        makeLink: @escaping @Sendable (RedisAddress, RedisLinks) -> RedisLink
    ) {
        self.home = home
        self.envelope = envelope
        self.queue = queue
        self.logger = logger
        self.makeLink = makeLink
        state.withLock { _ = link(to: home, &$0) }
    }

    /// Whether everything that others publish is heard, and they hear what is published here.
    var isConnected: Bool {
        state.withLock { state in
            guard let slots = state.slots else {
                return state.links[home]?.isConnected ?? false
            }
            return slots.isWhole
                && slots.nodes.allSatisfy { state.links[$0]?.isConnected ?? false }
        }
    }

    /// Whether what others publish in `room` is heard.
    func hears(_ room: RoomID) -> Bool {
        state.withLock { state in
            guard let address = state.rooms[room] else { return false }
            return state.links[address]?.subscriber.hears(room) ?? false
        }
    }

    var droppedPayloads: Int { sum { $0.droppedPayloads } }

    var queuedPayloads: Int { sum { $0.queuedPayloads } }

    private func sum(_ count: (RedisPublisher) -> Int) -> Int {
        state.withLock { $0.links.values.reduce(0) { $0 + count($1.publisher) } }
    }

    // A link is told under the lock, so that no change of the cluster comes in between.

    func publish(_ payload: [UInt8], to room: RoomID) {
        state.withLock { state in
            link(to: address(of: room, state), &state).publisher.publish(payload, to: room)
        }
    }

    func subscribe(to room: RoomID) {
        state.withLock { state in
            let address = address(of: room, state)
            state.rooms[room] = address
            link(to: address, &state).subscriber.subscribe(to: room)
        }
    }

    func unsubscribe(from room: RoomID) {
        state.withLock { state in
            guard let address = state.rooms.removeValue(forKey: room) else { return }
            state.links[address]?.subscriber.unsubscribe(from: room)
        }
    }

    /// Runs all links, also those that come later, until it is cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            for await link in started { group.addTask { await link.run() } }
            group.cancelAll()
        }
    }

    // MARK: What links tell

    /// A node has answered what the cluster looks like; nil when it is a single Redis.
    func learned(_ slots: RedisSlots?, from node: RedisAddress) {
        state.withLock { state in
            guard state.links[node] != nil else { return }
            state.views[node] = slots
            let chosen = prevailing(state)
            if chosen != state.slots { follow(chosen, &state) }
            for link in state.links.values { link.subscriber.retry() }
        }
    }

    /// A node does not have what it was thought to have: the others may know more.
    func doubted() {
        let links = state.withLock { Array($0.links.values) }
        for link in links { link.publisher.askForSlots() }
    }

    /// A link hears nothing any more.
    func ended(_ node: RedisAddress) {
        state.withLock { state in
            state.views[node] = nil
            let isHeard = state.links.values.contains { $0.subscriber.isConnected }
            if !isHeard { queue.push(.disconnected) }
        }
        doubted()
    }

    // MARK: Following the cluster

    /// The view that most nodes share: one that is cut off from the others has an old one.
    private func prevailing(_ state: State) -> RedisSlots? {
        var votes: [(view: RedisSlots, count: Int)] = []
        for (_, view) in state.views.sorted(by: { $0.key < $1.key }) {
            if let place = votes.firstIndex(where: { $0.view == view }) {
                votes[place].count += 1
            } else {
                votes.append((view, 1))
            }
        }
        let most = votes.max { one, other in
            (one.count, one.view == state.slots ? 1 : 0)
                < (other.count, other.view == state.slots ? 1 : 0)
        }
        return most?.view
    }

    private func follow(_ slots: RedisSlots?, _ state: inout State) {
        state.slots = slots
        let nodes = Set(slots?.nodes ?? []).union([home])
        logger.info(
            "Redis has another form now",
            metadata: ["redis.nodes": "\(slots?.nodes.count ?? 0)"])
        for node in nodes { _ = link(to: node, &state) }
        for (room, old) in state.rooms {
            let new = address(of: room, state)
            guard new != old else { continue }
            state.links[old]?.subscriber.unsubscribe(from: room)
            state.rooms[room] = new
            link(to: new, &state).subscriber.subscribe(to: room)
        }
        for old in state.links.values {
            for entry in old.publisher.takeQueue() {
                link(to: address(of: entry.room, state), &state).publisher.enqueue(entry)
            }
        }
        for (node, link) in state.links where !nodes.contains(node) {
            link.stop()
            state.links[node] = nil
            state.views[node] = nil
        }
    }

    private func address(of room: RoomID, _ state: State) -> RedisAddress {
        state.slots?.owner(ofChannel: envelope.channel(of: room)) ?? home
    }

    private func link(to address: RedisAddress, _ state: inout State) -> RedisLink {
        if let link = state.links[address] { return link }
        let link = makeLink(address, self)
        state.links[address] = link
        start.yield(link)
        return link
    }
}
