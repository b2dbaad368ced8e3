import Logging
import Synchronization

/// Keeps what is logged, with all metadata, for a look at it.
final class RecordedLog: Sendable {
    private let entries = Mutex<[(level: Logger.Level, text: String)]>([])

    /// What was logged at `level`.
    func lines(_ level: Logger.Level) -> [String] {
        entries.withLock { $0.filter { $0.level == level }.map(\.text) }
    }

    var all: String { entries.withLock { $0.map(\.text).joined(separator: "\n") } }

    var logger: Logger {
        var logger = Logger(label: "test", factory: { _ in Handler(log: self) })
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let log: RecordedLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let metadata = metadata.merging(event.metadata ?? [:]) { $1 }
            log.entries.withLock { $0.append((event.level, "\(event.message) \(metadata)")) }
        }
    }
}
