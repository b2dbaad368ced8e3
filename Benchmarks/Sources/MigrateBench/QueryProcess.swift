import BenchKit
import Foundation

/// This program once more, as the process with the queries.
final class QueryProcess {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let ledger: String

    /// Starts it; returns when it asks.
    init(_ settings: QuerySettings) throws {
        ledger = settings.output
        let path = "\(settings.output).settings"
        try JSONEncoder().encode(settings).write(to: URL(filePath: path))
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["load", path]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try expect("ready")
    }

    /// Lets everything be answered that is due by now, and ends it.
    func finish() throws -> QueryLedger {
        try input.fileHandleForWriting.close()
        try expect("done")
        process.waitUntilExit()
        return try JSONDecoder().decode(
            QueryLedger.self, from: Data(contentsOf: URL(filePath: ledger)))
    }

    private func expect(_ word: String) throws {
        let line = output.fileHandleForReading.availableData
        guard String(decoding: line, as: UTF8.self) == "\(word)\n" else {
            throw BenchError(description: "the process with the queries ended before '\(word)'")
        }
    }
}
