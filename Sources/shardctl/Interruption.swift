import Glibc
import Synchronization

/// Ctrl-C while moves run: ends the program at once, but not behind a fence, where writers wait; then
/// as soon as the fence is gone. A second Ctrl-C does not wait.
enum Interruption {
    private static let switching = Atomic<Int>(0)
    private static let isWanted = Atomic<Bool>(false)
    private static let text: StaticString = """

        shardctl: stopped. Nothing is lost; the same command goes on, or shardctl move resume --all
        next: shardctl move list

        """

    static func watch() {
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
        _ = text.withUTF8Buffer { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        _exit(130)
    }
}
