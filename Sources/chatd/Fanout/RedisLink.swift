import Logging
import NIOCore

/// Both connections to one Redis: the one that hears, and the one that publishes.
final class RedisLink: Sendable {
    let address: RedisAddress
    let subscriber: RedisSubscriber
    let publisher: RedisPublisher
    private let connector: RedisConnector
    private let name: String
    private let logger: Logger
    private let (stops, stopped) = AsyncStream<Never>.makeStream()

    init(
        _ address: RedisAddress, connector: RedisConnector, name: String,
        subscriber: RedisSubscriber, publisher: RedisPublisher, logger: Logger
    ) {
        self.address = address
        self.connector = connector
        self.name = name
        self.subscriber = subscriber
        self.publisher = publisher
        self.logger = logger
    }

    /// Whether both connections do what they are for.
    var isConnected: Bool { subscriber.isConnected && publisher.isConnected }

    /// Keeps both connections until ``stop()`` or cancellation.
    func run() async {
        await withTaskGroup { group in
            group.addTask { await self.keep(self.subscriber, role: "subscriber") }
            group.addTask { await self.keep(self.publisher, role: "publisher") }
            group.addTask { for await _ in self.stops {} }
            await group.next()
            group.cancelAll()
        }
    }

    /// The node has no part in the cluster any more.
    func stop() { stopped.finish() }

    private func keep(_ conversation: some RedisConversation, role: String) async {
        var logger = logger
        logger[metadataKey: "redis.address"] = "\(address)"
        logger[metadataKey: "redis.role"] = "\(role)"
        let watched = WatchedConversation(conversation, logger: logger)
        var backOff = RedisBackOff(limits: connector.limits)
        while !Task.isCancelled {
            let reason = await connector.serve(watched, at: address, name: "\(name)-\(role)")
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
}
