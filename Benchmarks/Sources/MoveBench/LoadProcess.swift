import BenchKit
import Foundation

/// This program once more, as the process with the callers.
final class LoadProcess {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let folder: String

    /// Starts it; returns when all callers are at work.
    init(_ settings: LoadSettings) throws {
        folder = settings.output
        let path = "\(folder)/settings.json"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true)
        try JSONEncoder().encode(settings).write(to: URL(filePath: path))
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["load", path]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try expect("ready")
    }

    /// From now on the rooms of this move are probed and read.
    func probe(_ move: Int) throws {
        try input.fileHandleForWriting.write(contentsOf: Data("\(move)\n".utf8))
    }

    /// Ends the load and returns what its callers were told.
    func finish() throws -> (ledger: [Acknowledgement], errors: [String]) {
        try input.fileHandleForWriting.close()
        try expect("done")
        process.waitUntilExit()
        let errors = try String(contentsOfFile: "\(folder)/errors", encoding: .utf8)
        return (
            try Acknowledgement.read("\(folder)/ledger"),
            errors.split(separator: "\n").map(String.init)
        )
    }

    private func expect(_ word: String) throws {
        let line = output.fileHandleForReading.availableData
        guard String(decoding: line, as: UTF8.self) == "\(word)\n" else {
            throw BenchError(description: "the process with the callers ended before '\(word)'")
        }
    }
}
