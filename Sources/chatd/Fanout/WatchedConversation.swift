import Logging
import NIOCore
import Synchronization

/// Passes everything on, and tells the log when a connection comes and goes: each change once,
/// however many attempts lie between.
final class WatchedConversation<Watched: RedisConversation>: RedisConversation {
    private struct State {
        var began: ContinuousClock.Instant?
        /// Whether the log knows that Redis is away.
        var isAway = false
    }

    private let watched: Watched
    private let logger: Logger
    private let state = Mutex(State())

    init(_ watched: Watched, logger: Logger) {
        self.watched = watched
        self.logger = logger
    }

    /// How long the last connection lived; nothing when it was never made.
    func takeLife() -> Duration {
        state.withLock { state in
            defer { state.began = nil }
            return state.began.map { .now - $0 } ?? .zero
        }
    }

    func log(_ reason: RedisError) {
        let isNews = state.withLock { state in
            defer { state.isAway = true }
            return !state.isAway
        }
        logger.log(
            level: isNews ? .warning : .debug, "Redis is away, trying again",
            metadata: ["error": "\(reason)"])
    }

    var question: RedisCommand { watched.question }

    func begin(on channel: any Channel, slots: RedisSlots?) {
        state.withLock { state in
            state.began = .now
            state.isAway = false
        }
        logger.info("Redis is connected")
        watched.begin(on: channel, slots: slots)
    }

    func hear(_ reply: RedisReply) throws(RedisError) { try watched.hear(reply) }

    func resume() { watched.resume() }

    func end() { watched.end() }
}
