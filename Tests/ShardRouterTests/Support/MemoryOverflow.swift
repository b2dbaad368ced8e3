import ShardRouter
import Synchronization

/// An overflow in memory that answers when it is told to.
final class MemoryOverflow: WriteOverflow {
    private struct Contents {
        var messages: [Message] = []
        var waiting: [@Sendable (Result<Void, OverflowError>) -> Void] = []
    }

    private let contents = Mutex(Contents())

    func holds(_ room: RoomID) -> Bool {
        contents.withLock { $0.messages.contains { $0.room == room } }
    }

    func take(
        _ message: Message,
        completion: @escaping @Sendable (Result<Void, OverflowError>) -> Void
    ) {
        contents.withLock {
            $0.messages.append(message)
            $0.waiting.append(completion)
        }
    }

    /// In the order in which they came.
    var texts: [String] { contents.withLock { $0.messages.map(\.text) } }

    /// Answers everything that waits.
    func answer(_ outcome: Result<Void, OverflowError>) {
        let waiting = contents.withLock { contents in
            defer { contents.waiting = [] }
            return contents.waiting
        }
        waiting.forEach { $0(outcome) }
    }

    /// Its messages have been stored.
    func drain() { contents.withLock { $0.messages = [] } }
}
