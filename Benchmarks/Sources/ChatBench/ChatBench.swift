import BenchKit
import Foundation
import Glibc

/// `ChatBench --folder DIR --repository DIR [--quick] [--only NAME] [--json FILE] [--chatd PATH]`
@main struct ChatBench {
    static let phases = ["fanout", "stored", "library", "idle", "storm", "heartbeats"]

    static func main() async {
        do {
            let isRight = try await run(Options(Array(CommandLine.arguments.dropFirst())))
            if !isRight { exit(1) }
        } catch {
            FileHandle.standardError.write(Data("bench: \(error)\n".utf8))
            exit(1)
        }
    }

    /// - Returns: whether every message came to everybody, once and in its order.
    private static func run(_ options: Options) async throws -> Bool {
        let start = ContinuousClock.now
        raiseFileLimit()
        let stage = try ChatStage.make(options)
        var report = Report()
        report.machine = try await Machine.facts(stage.servers[0], folder: options.folder)
        let facts = report.machine.sorted { $0.key < $1.key }.map { "\($0): \($1)" }
        print(facts.joined(separator: ", "))
        print("servers are up after \(short((.now - start).seconds)) s")
        print("\n" + Report.header)
        for phase in phases where options.only == nil || options.only == phase {
            try await run(phase, stage, &report)
        }
        print("\n\(short((.now - start).seconds)) s in all. A missed target is no failure here.")
        if let path = options.json { try report.write(to: path) }
        for violation in stage.violations.value { print("WRONG: \(violation)") }
        return stage.violations.value.isEmpty
    }

    private static func run(
        _ phase: String, _ stage: ChatStage, _ report: inout Report
    ) async throws {
        switch phase {
        case "fanout": try await FanoutPhase(stage: stage).run(&report)
        case "stored": try await StoredPhase(stage: stage).run(&report)
        case "library": try await LibraryPhase(stage: stage).run(&report)
        case "idle": try await IdlePhase(stage: stage).run(&report)
        case "storm": try await StormPhase(stage: stage).run(&report)
        case "heartbeats": try await HeartbeatPhase(stage: stage).run(&report)
        default: throw BenchError(description: "there is no phase '\(phase)'")
        }
    }

    /// For this process and those that it starts: thousands of sockets each.
    private static func raiseFileLimit() {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

/// The command line.
struct Options {
    var folder = ""
    var repository = ""
    var only: String?
    var json: String?
    /// Nil: the one that was built beside this program.
    var chatd: String?
    /// Of each message's text.
    var textBytes = 118
    var extent = Extent.full

    init(_ words: [String]) {
        var words = words[...]
        while let word = words.popFirst() {
            switch word {
            case "--quick": extent = .quick
            case "--folder": folder = words.popFirst() ?? ""
            case "--repository": repository = words.popFirst() ?? ""
            case "--json": json = words.popFirst()
            case "--only": only = words.popFirst() ?? ""
            case "--chatd": chatd = words.popFirst() ?? ""
            case "--text":
                guard let bytes = words.popFirst().flatMap({ Int($0) }), 1...4_000 ~= bytes else {
                    Options.refuse()
                }
                textBytes = bytes
            default: Options.refuse()
            }
        }
        let isKnown = only.map(ChatBench.phases.contains) ?? true
        if folder.isEmpty || repository.isEmpty || chatd == "" || !isKnown { Options.refuse() }
    }

    private static func refuse() -> Never {
        let phases = ChatBench.phases.joined(separator: "|")
        let usage = """
            usage: scripts/bench chat [--quick] [--only \(phases)] [--json FILE]
                                      [--chatd PATH] [--text BYTES]
                   BYTES is 1 to 4000

            """
        FileHandle.standardError.write(Data(usage.utf8))
        exit(64)
    }
}
