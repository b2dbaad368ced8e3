import ServiceLifecycle
import ShardRouter
import Synchronization

/// Pub/sub without Redis: servers of one process hear each other over a bus.
///
/// A single server, the default, has nobody to talk to: then `publish` goes nowhere.
final class InProcessPubSub: PubSub {
    /// Events that wait for the consumer; more drop the oldest, as a slow subscriber of Redis
    /// would lose them.
    static let bufferedEvents = 10_000

    let events: AsyncStream<PubSubEvent>
    private let continuation: AsyncStream<PubSubEvent>.Continuation
    private let bus: InProcessBus
    private let rooms = Mutex<Set<RoomID>>([])

    init(bus: InProcessBus = InProcessBus()) {
        self.bus = bus
        (events, continuation) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingNewest(Self.bufferedEvents))
        bus.join(self)
    }

    var isConnected: Bool { true }

    func publish(_ payload: [UInt8], to room: RoomID) {
        bus.publish(payload, to: room, from: self)
    }

    func subscribe(to room: RoomID) {
        let isNew = rooms.withLock { $0.insert(room).inserted }
        if isNew { continuation.yield(.subscribed(room)) }
    }

    func unsubscribe(from room: RoomID) {
        rooms.withLock { _ = $0.remove(room) }
    }

    /// Another server has published.
    func hear(_ payload: [UInt8], of room: RoomID) {
        guard rooms.withLock({ $0.contains(room) }) else { return }
        continuation.yield(.payload(payload, room: room))
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
        continuation.finish()
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
