import Glibc
import Synchronization

/// Where the log goes.
enum StandardError {
    private static let turn = Mutex(())

    /// Writes whole lines, one caller after the other. What cannot be written is lost: there is nobody
    /// to tell.
    static func write(_ text: String) {
        turn.withLock { _ in
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes {
                    Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count)
                }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                rest = rest.dropFirst(count)
            }
        }
    }
}
