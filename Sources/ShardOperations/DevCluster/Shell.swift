import Foundation
import Glibc

/// Runs a shell command on a thread of its own and waits for its end; 0 means success.
///
/// Not by Foundation's `Process`: that one waits until nobody holds a descriptor which a server
/// started by the command inherits.
func shellStatus(_ command: String) async -> Int32 {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread { continuation.resume(returning: run(command)) }
    }
}

private func run(_ command: String) -> Int32 {
    var pid = pid_t()
    let words = ["/bin/sh", "-c", command]
    var arguments = words.map { strdup($0) } + [nil]
    defer { arguments.forEach { free($0) } }
    guard posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status == 0 ? 0 : max(1, status >> 8 & 0xff)
}

/// `text` as one word of a shell command.
func quoted(_ text: String) -> String {
    "'" + text.replacingOccurrences(of: "'", with: "'\\''") + "'"
}
