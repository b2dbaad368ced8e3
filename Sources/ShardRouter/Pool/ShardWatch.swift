import Logging
import Synchronization

/// Tells the log when a shard goes away and when it is back: once each, whatever the traffic.
final class ShardWatch: Sendable {
    private let away = Mutex<Set<ShardID>>([])
    private let logger: Logger

    init(logger: Logger) {
        self.logger = logger
    }

    func answered(_ shard: ShardID) {
        guard away.withLock({ $0.remove(shard) != nil }) else { return }
        logger.info("shard answers again", metadata: ["shard.id": "\(shard)"])
    }

    func failed(_ shard: ShardID, _ error: any Error) {
        guard away.withLock({ $0.insert(shard).inserted }) else { return }
        logger.warning(
            "shard is out of reach, its messages are tried again",
            metadata: ["shard.id": "\(shard)", "error": "\(error)"])
    }
}
