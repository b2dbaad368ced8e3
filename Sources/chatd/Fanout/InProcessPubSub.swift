import ServiceLifecycle
import ShardRouter
import Synchronization

/// Pub/sub without Redis: servers of one process hear each other over a bus.
///
/// A single server, the default, has nobody to talk to: then `publish` goes nowhere.
final class InProcessPubSub: PubSub {
    let events: AsyncStream<PubSubEvent>
    private let queue: PubSubEventQueue
    private let bus: InProcessBus
    private let rooms = Mutex<Set<RoomID>>([])

    init(bus: InProcessBus = InProcessBus(), limits: PubSubEventLimits = PubSubEventLimits()) {
        self.bus = bus
        queue = PubSubEventQueue(limits: limits)
        events = queue.events
        bus.join(self)
    }

    var isConnected: Bool { true }

    /// Payloads that the reader of ``events`` was too slow for.
    var droppedEvents: Int { queue.droppedPayloads }

    var droppedCount: Int { droppedEvents }

    func publish(_ payload: [UInt8], to room: RoomID) {
        bus.publish(payload, to: room, from: self)
    }

    func subscribe(to room: RoomID) {
        rooms.withLock { rooms in
            if rooms.insert(room).inserted { queue.push(.subscribed(room)) }
        }
    }

    func unsubscribe(from room: RoomID) {
        rooms.withLock { _ = $0.remove(room) }
    }

    /// Another server has published.
    func hear(_ payload: [UInt8], of room: RoomID) {
        rooms.withLock { rooms in
            if rooms.contains(room) { queue.push(.payload(payload, room: room)) }
        }
    }

    /// Ends ``events`` when the server stops.
    func run() async throws {
        let (stopped, stop) = AsyncStream<Void>.makeStream()
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                for await _ in stopped {}
            } onGracefulShutdown: {
                stop.finish()
            }
        } onCancel: {
            stop.finish()
        }
        queue.finish()
    }
}

/// Connects the servers of one process.
final class InProcessBus: Sendable {
    private struct Listener {
        weak var server: InProcessPubSub?
    }

    private let listeners = Mutex<[Listener]>([])

    fileprivate func join(_ server: InProcessPubSub) {
        listeners.withLock { listeners in
            listeners.removeAll { $0.server == nil }
            listeners.append(Listener(server: server))
        }
    }

    fileprivate func publish(_ payload: [UInt8], to room: RoomID, from sender: InProcessPubSub) {
        let servers = listeners.withLock { $0.compactMap(\.server) }
        for server in servers where server !== sender {
            server.hear(payload, of: room)
        }
    }
}
