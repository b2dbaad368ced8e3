import Foundation
import Glibc
import Logging
import ServiceLifecycle
import Synchronization

/// A file with keys that is read again whenever it changes.
///
/// What cannot be used is told in the log once, and the keys from before stay. ``run()`` must run
/// for changes to be seen.
final class KeyFile: Service {
    /// Bytes of the largest file: as long as no set of keys is.
    static let bytesAtMost = 256 * 1_024
    /// How often the file is looked at. Reading it whole is cheaper than to trust times and sizes.
    static let interval: Duration = .seconds(2)

    private struct Content: Equatable {
        var bytes: Data
        var mode: Int
    }

    private struct State {
        var keys: TokenKeys
        /// What was found last, good or not.
        var seen: Result<Content, KeyFileError>
    }

    private let path: String
    private let logger: Logger
    private let state: Mutex<State>

    private init(_ path: String, _ keys: TokenKeys, _ content: Content, _ logger: Logger) {
        self.path = path
        self.logger = logger
        state = Mutex(State(keys: keys, seen: .success(content)))
    }

    /// Reads the file for the first time.
    static func open(_ path: String, logger: Logger) async throws(KeyFileError) -> KeyFile {
        let content = try read(path).get()
        let file = KeyFile(path, try await TokenKeys.parse(content.bytes), content, logger)
        file.warnOfOthers(content.mode)
        return file
    }

    /// Those of the last good content.
    var keys: TokenKeys { state.withLock { $0.keys } }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while true {
                do {
                    try await Task.sleep(for: Self.interval)
                } catch {
                    return  // The server stops.
                }
                await self.look()
            }
        }
    }

    /// Takes over what has changed since the last look.
    @concurrent func look() async {
        let found = Self.read(path)
        let isNews = state.withLock { state in
            defer { state.seen = found }
            return state.seen != found
        }
        guard isNews else { return }
        do throws(KeyFileError) {
            let content = try found.get()
            let keys = try await TokenKeys.parse(content.bytes)
            state.withLock { $0.keys = keys }
            logger.info("keys were read again", metadata: ["count": "\(keys.keys.count)"])
            warnOfOthers(content.mode)
        } catch {
            logger.warning(
                "the keys from before stay: the new ones cannot be used",
                metadata: ["file": "\(path)", "error": "\(error)"])
        }
    }

    private func warnOfOthers(_ mode: Int) {
        let canRead = keys.hasSecret && mode & 0o004 != 0
        guard canRead || mode & 0o002 != 0 else { return }
        logger.warning(
            "everybody on this machine can get at the keys that prove tokens",
            metadata: ["file": "\(path)", "advice": "chmod 600"])
    }

    private static func read(_ path: String) -> Result<Content, KeyFileError> {
        // A pipe would hold this thread for ever.
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return failure() }
        defer { close(descriptor) }
        guard let status = FileStatus(path), status.isRegular else {
            return .failure(KeyFileError("it is not a file"))
        }
        var bytes = [UInt8](repeating: 0, count: bytesAtMost + 1)
        var count = 0
        while count < bytes.count {
            let read = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count)
            }
            guard read >= 0 else { return failure() }
            if read == 0 { break }
            count += read
        }
        guard count <= bytesAtMost else {
            return .failure(KeyFileError("it is larger than \(bytesAtMost) bytes"))
        }
        return .success(Content(bytes: Data(bytes[..<count]), mode: status.permissions))
    }

    private static func failure() -> Result<Content, KeyFileError> {
        .failure(KeyFileError(String(cString: strerror(errno))))
    }
}
