public import Foundation
import Glibc

/// A small disk in memory, which only root can make. Goes away with its last reference.
public final class TemporaryDisk: Sendable {
    public let folder: URL

    public init(megabytes: Int) throws {
        folder = temporaryFolder.appending(path: "disk-\(UUID().uuidString.prefix(8))")
        try shell(
            "mkdir '\(folder.path())' && mount -t tmpfs -o size=\(megabytes)m tmpfs "
                + "'\(folder.path())'")
    }

    deinit {
        do {
            try shell("umount -l '\(folder.path())' && rmdir '\(folder.path())'")
        } catch {
            print("cannot remove \(folder.path()): \(error)")
        }
    }

    /// Leaves no room on it, until ``free()``.
    public func fill() throws {
        try shell("cat /dev/zero > '\(folder.path())/filler' 2>/dev/null || true")
    }

    public func free() throws { try shell("rm -f '\(folder.path())/filler'") }
}

/// In memory where the system offers it: copying a data folder takes a second on a slow disk.
let temporaryFolder =
    access("/dev/shm", W_OK) == 0
    ? URL(filePath: "/dev/shm") : FileManager.default.temporaryDirectory

/// Runs a shell command to its end.
///
/// Not by Foundation's `Process`: that one waits until nobody holds a descriptor which a server
/// started by the command inherits.
func shell(_ command: String) throws {
    var pid = pid_t()
    let words = ["/bin/sh", "-c", "cd / && \(command)"]
    var arguments = words.map { strdup($0) } + [nil]
    defer { arguments.forEach { free($0) } }
    let failure = posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, environ)
    guard failure == 0 else {
        throw TestServerError(description: "cannot start a shell: error \(failure)")
    }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    guard status == 0 else {
        throw TestServerError(description: "wait status \(status) of: \(command)")
    }
}
