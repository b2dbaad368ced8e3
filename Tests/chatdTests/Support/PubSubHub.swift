import ServiceLifecycle
import ShardRouter
import Synchronization

@testable import chatd

/// Connects servers within a test, and loses what the test wants lost.
final class PubSubHub: Sendable {
    private let links = Mutex<[Link]>([])

    func link() -> Link {
        let link = Link(hub: self)
        links.withLock { $0.append(link) }
        return link
    }

    fileprivate func spread(_ payload: [UInt8], to room: RoomID, from sender: Link) {
        for link in links.withLock({ $0 }) where link !== sender { link.take(payload, room) }
    }

    /// One server's side.
    final class Link: PubSub {
        private struct State {
            var rooms: Set<RoomID> = []
            var isConnected = true
            /// Rooms whose others are not heard, while those of other rooms are.
            var unheard: Set<RoomID> = []
            /// Messages that are lost on the way to this server, before others are heard.
            var losses = 0
            var published: [RoomEvent] = []
        }

        let events: AsyncStream<PubSubEvent>
        private let continuation: AsyncStream<PubSubEvent>.Continuation
        private let hub: PubSubHub
        private let state = Mutex(State())

        fileprivate init(hub: PubSubHub) {
            self.hub = hub
            (events, continuation) = AsyncStream.makeStream()
        }

        var isConnected: Bool { state.withLock { $0.isConnected } }

        func hears(_ room: RoomID) -> Bool {
            state.withLock { $0.isConnected && !$0.unheard.contains(room) }
        }

        /// The Redis of `room` is away, others are not.
        func deafen(_ room: RoomID) { state.withLock { _ = $0.unheard.insert(room) } }

        var droppedCount: Int { 0 }

        var subscriptions: Set<RoomID> { state.withLock { $0.rooms } }

        var published: [RoomEvent] { state.withLock { $0.published } }

        func run() async throws {
            try await gracefulShutdown()
        }

        func publish(_ payload: [UInt8], to room: RoomID) {
            let isConnected = state.withLock { state in
                RoomEvent.decode(payload).map { state.published.append($0) }
                return state.isConnected
            }
            if isConnected { hub.spread(payload, to: room, from: self) }
        }

        func subscribe(to room: RoomID) {
            let isNew = state.withLock { $0.rooms.insert(room).inserted }
            if isNew { continuation.yield(.subscribed(room)) }
        }

        func unsubscribe(from room: RoomID) {
            _ = state.withLock { $0.rooms.remove(room) }
        }

        func lose(_ messages: Int) { state.withLock { $0.losses += messages } }

        func disconnect() {
            state.withLock { $0.isConnected = false }
            continuation.yield(.disconnected)
        }

        func reconnect() {
            let rooms = state.withLock { state in
                state.isConnected = true
                return state.rooms
            }
            for room in rooms { continuation.yield(.subscribed(room)) }
        }

        /// Lets the server hear `payload`, wherever it comes from.
        func take(_ payload: [UInt8], _ room: RoomID) {
            let isHeard = state.withLock { state in
                guard state.isConnected, state.rooms.contains(room),
                    !state.unheard.contains(room)
                else { return false }
                guard state.losses > 0, case .message = RoomEvent.decode(payload) else {
                    return true
                }
                state.losses -= 1
                return false
            }
            if isHeard { continuation.yield(.payload(payload, room: room)) }
        }
    }
}
