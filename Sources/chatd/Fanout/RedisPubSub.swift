import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import ShardRouter

/// Pub/sub over Redis: one connection that hears all rooms, one that publishes.
///
/// ``run()`` keeps trying while Redis is away. What was published meanwhile is kept for a moment
/// and then dropped; rooms read their shards as long as ``isConnected`` is false.
final class RedisPubSub: PubSub {
    let events: AsyncStream<PubSubEvent>
    private let connector: RedisConnector
    private let name: String
    private let logger: Logger
    private let queue: PubSubEventQueue
    private let subscriber: RedisSubscriber
    private let publisher: RedisPublisher

    /// - Parameters:
    ///   - prefix: in front of every channel's name. Holds the cluster's id, so that clusters may
    ///     share a Redis.
    ///   - serverName: what Redis shows in `CLIENT LIST`.
    init(
        url: RedisURL, prefix: String, serverName: String, limits: RedisLimits = RedisLimits(),
        eventLoops: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, logger: Logger
    ) {
        let origin = UInt64.random(in: .min ... .max)
        let envelope = RedisEnvelope(prefix: prefix, origin: origin)
        var logger = logger
        logger[metadataKey: "redis.address"] = "\(url)"
        self.logger = logger
        name = RedisPubSub.clientName(serverName)
        connector = RedisConnector(url: url, limits: limits, eventLoop: eventLoops.next())
        queue = PubSubEventQueue(limits: limits.events)
        events = queue.events
        subscriber = RedisSubscriber(
            envelope: envelope, limits: limits, queue: queue, logger: logger)
        publisher = RedisPublisher(envelope: envelope, limits: limits, logger: logger)
    }

    var isConnected: Bool { subscriber.isConnected }

    /// Payloads that other servers never got to hear: Redis was away or too slow.
    var droppedPayloads: Int { publisher.droppedPayloads }

    /// Payloads that the reader of ``events`` was too slow for.
    var droppedEvents: Int { queue.droppedPayloads }

    var droppedCount: Int { droppedPayloads + droppedEvents }

    /// Payloads that wait to be sent.
    var queuedPayloads: Int { publisher.queuedPayloads }

    func publish(_ payload: [UInt8], to room: RoomID) {
        publisher.publish(payload, to: room)
    }

    func subscribe(to room: RoomID) {
        subscriber.subscribe(to: room)
    }

    func unsubscribe(from room: RoomID) {
        subscriber.unsubscribe(from: room)
    }

    /// Keeps both connections until graceful shutdown or cancellation; then ends ``events``.
    func run() async throws {
        defer { queue.finish() }
        await cancelWhenGracefulShutdown {
            await withTaskGroup { group in
                group.addTask { await self.keep(self.subscriber, role: "subscriber") }
                group.addTask { await self.keep(self.publisher, role: "publisher") }
            }
        }
    }

    private func keep(_ conversation: some RedisConversation, role: String) async {
        var logger = logger
        logger[metadataKey: "redis.role"] = "\(role)"
        let watched = WatchedConversation(conversation, logger: logger)
        var backOff = RedisBackOff(limits: connector.limits)
        while !Task.isCancelled {
            let reason = await connector.serve(watched, name: "\(name)-\(role)")
            guard !Task.isCancelled else { return }
            let life = watched.takeLife()
            do {
                watched.log(reason)
                try await Task.sleep(for: backOff.next(after: life))
            } catch {
                return  // Cancelled: nobody needs the connection any more.
            }
        }
    }

    /// Redis takes names without spaces and control characters only.
    private static func clientName(_ name: String) -> String {
        String(
            decoding: name.utf8.map { (0x21...0x7e).contains($0) ? $0 : UInt8(ascii: "-") },
            as: UTF8.self)
    }
}
