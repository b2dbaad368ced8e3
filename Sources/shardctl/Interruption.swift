import Glibc
import Synchronization

/// Ctrl-C while moves or migrations run: ends the program at once, but not behind a fence, where writers
/// wait; then as soon as the fence is gone. A second Ctrl-C does not wait.
enum Interruption {
    private static let switching = Atomic<Int>(0)
    private static let isWanted = Atomic<Bool>(false)
    /// Written by a signal handler, so it has to lie ready as bytes.
    private static let text = Mutex<StaticString>("")

    /// - Parameter text: said at the end: what became of the work, and what to do next.
    static func watch(_ text: StaticString) {
        self.text.withLock { $0 = text }
        signal(SIGINT) { _ in
            let isRepeated = Interruption.isWanted.exchange(true, ordering: .relaxed)
            if isRepeated || Interruption.switching.load(ordering: .relaxed) == 0 {
                Interruption.end()
            }
        }
    }

    /// So many moves are about to fence, or have.
    static func note(switching count: Int) {
        switching.store(count, ordering: .relaxed)
        if count == 0, isWanted.load(ordering: .relaxed) { end() }
    }

    private static func end() -> Never {
        // Free for sure: it was set before the handler was there.
        let text = text.withLock { $0 }
        _ = text.withUTF8Buffer { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        _exit(130)
    }
}
