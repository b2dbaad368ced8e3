import Foundation
import Glibc

/// A program that runs until it is told to stop, below the folder that the script clears: it also
/// ends whatever has left a `process.pid` there.
package struct Daemon: Sendable {
    private let process: Process

    package var processID: Int32 { process.processIdentifier }

    /// - Parameters:
    ///   - home: a folder for it, below `folder`.
    ///   - core: the one that it is kept on; nil for any.
    package init(
        _ program: String, _ words: [String], _ environment: [String: String] = [:],
        home name: String, below folder: String, core: Int? = nil
    ) throws {
        let home = URL(filePath: "\(folder)/\(name)")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        let log = home.appending(path: "log").path()
        _ = FileManager.default.createFile(atPath: log, contents: nil)
        let process = Process()
        // It becomes the program: the process stays the same.
        process.executableURL = URL(filePath: core == nil ? program : "/usr/bin/taskset")
        process.arguments = (core.map { ["-c", "\($0)", program] } ?? []) + words
        process.currentDirectoryURL = home
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(forWritingAtPath: log)
        process.standardError = process.standardOutput
        try Self.withoutBlockedSignals { try process.run() }
        try "\(process.processIdentifier)\n".write(
            to: home.appending(path: "process.pid"), atomically: true, encoding: .utf8)
        self.process = process
    }

    /// Ends it; its folder stays.
    package func stop() async throws {
        process.terminate()
        let limit = ContinuousClock.now + .seconds(15)
        while process.isRunning {
            if ContinuousClock.now > limit { kill(process.processIdentifier, SIGKILL) }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// A program inherits what its parent's thread has blocked, and the threads of tasks block
    /// everything: it could not be asked to stop.
    private static func withoutBlockedSignals(_ body: () throws -> Void) rethrows {
        var (none, before) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }
}
