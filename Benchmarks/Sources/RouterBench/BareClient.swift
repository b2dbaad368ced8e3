import BenchKit
import Foundation

/// The rival: a program of nothing but C and libpq, in its own process.
struct BareClient {
    enum Kind: String {
        case append, new, row, page
    }

    var kind: Kind
    var places: [String]
    var sql: String
    /// To each place.
    var connections = 1
    var batch = 1
    var roomSQL: String?

    /// Runs it to its end.
    func run(_ plan: Plan, watching cluster: BenchCluster? = nil) throws -> Run {
        let folder = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent()
        var words = [folder.appending(path: "BareClient").path(), kind.rawValue]
        for place in places { words += ["--place", place] }
        words += ["--sql", sql, "--connections", "\(connections)", "--batch", "\(batch)"]
        words += ["--rooms", "\(plan.rooms)", "--seconds", "\(plan.seconds)"]
        words += ["--warmup", "\(plan.warmup)"]
        if let roomSQL { words += ["--room-sql", roomSQL] }
        let line = words.map { "'\($0.replacingOccurrences(of: "'", with: "'\\''"))'" }
        let before = cluster?.cpuSeconds
        let output = try shell(line.joined(separator: " "))
        var run = try JSONDecoder().decode(Run.self, from: Data(output.utf8))
        if let cluster, let before { run.serverCPUSeconds = cluster.cpuSeconds - before }
        return run
    }
}
