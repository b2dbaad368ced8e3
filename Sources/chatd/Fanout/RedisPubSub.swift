import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import ShardRouter

/// Pub/sub over Redis: one connection that hears all rooms, one that publishes; in a Redis cluster,
/// where sharded pub/sub is used, two to each node.
///
/// ``run()`` keeps trying while Redis is away. What was published meanwhile is kept for a moment
/// and then dropped; rooms read their shards as long as ``hears(_:)`` is false.
final class RedisPubSub: PubSub {
    let events: AsyncStream<PubSubEvent>
    private let queue: PubSubEventQueue
    private let links: RedisLinks

    /// - Parameters:
    ///   - tls: needed when the URL asks for it.
    ///   - prefix: in front of every channel's name. Holds the cluster's id, so that clusters may
    ///     share a Redis.
    ///   - serverName: what Redis shows in `CLIENT LIST`.
    init(
        url: RedisURL, tls: RedisTLS? = nil, prefix: String, serverName: String,
        limits: RedisLimits = RedisLimits(),
        eventLoops: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, logger: Logger
    ) {
        precondition(url.isSecure == (tls != nil), "TLS is used when the URL says so")
        let envelope = RedisEnvelope(
            prefix: prefix, origin: UInt64.random(in: .min ... .max))
        let name = RedisPubSub.clientName(serverName)
        let queue = PubSubEventQueue(limits: limits.events)
        let connector = RedisConnector(
            url: url, tls: tls, limits: limits, eventLoop: eventLoops.next())
        self.queue = queue
        events = queue.events
        links = RedisLinks(
            home: url.address, envelope: envelope, queue: queue, logger: logger
        ) { address, links in
            RedisLink(
                address, connector: connector, name: name,
                subscriber: RedisSubscriber(
                    address, envelope: envelope, limits: limits, queue: queue, links: links,
                    logger: logger),
                publisher: RedisPublisher(
                    address, envelope: envelope, limits: limits, links: links, logger: logger),
                logger: logger)
        }
    }

    var isConnected: Bool { links.isConnected }

    func hears(_ room: RoomID) -> Bool { links.hears(room) }

    /// Payloads that other servers never got to hear: Redis was away or too slow.
    var droppedPayloads: Int { links.droppedPayloads }

    /// Payloads that the reader of ``events`` was too slow for.
    var droppedEvents: Int { queue.droppedPayloads }

    var droppedCount: Int { droppedPayloads + droppedEvents }

    /// Payloads that wait to be sent.
    var queuedPayloads: Int { links.queuedPayloads }

    func publish(_ payload: [UInt8], to room: RoomID) {
        links.publish(payload, to: room)
    }

    func subscribe(to room: RoomID) {
        links.subscribe(to: room)
    }

    func unsubscribe(from room: RoomID) {
        links.unsubscribe(from: room)
    }

    /// Keeps the connections until graceful shutdown or cancellation; then ends ``events``.
    func run() async throws {
        defer { queue.finish() }
        await cancelWhenGracefulShutdown { await self.links.run() }
    }

    /// Redis takes names without spaces and control characters only.
    private static func clientName(_ name: String) -> String {
        String(
            decoding: name.utf8.map { (0x21...0x7e).contains($0) ? $0 : UInt8(ascii: "-") },
            as: UTF8.self)
    }
}
