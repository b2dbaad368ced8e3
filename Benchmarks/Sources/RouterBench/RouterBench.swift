import BenchKit
import Foundation
import Glibc

/// `RouterBench --folder DIR --repository DIR [--quick] [--only NAME] [--json FILE]`
@main struct RouterBench {
    static let phases = ["route", "write", "safety", "latency", "proxy", "history", "memory", "faults"]

    static func main() async {
        do {
            let words = Array(CommandLine.arguments.dropFirst())
            if words.count == 3, words[0] == "resident", let port = Int(words[1]) {
                try await MemoryPhase.printResidentBytes(port: port, database: words[2])
            } else if words.count == 5, words[0] == "load", let port = Int(words[1]) {
                try await load(port: port, Array(words[2...]))
            } else {
                try await run(Options(words))
            }
        } catch {
            FileHandle.standardError.write(Data("bench: \(error)\n".utf8))
            exit(1)
        }
    }

    /// Nothing but the router under load, for profilers: `load PORT CATALOG CALLERS SECONDS`, on
    /// servers that are up. With 0 callers it reads pages.
    private static func load(port: Int, _ words: [String]) async throws {
        let server = BenchServer(port: port, folder: "", process: 0)
        let cluster = BenchCluster(
            catalog: BenchCluster.Place(server: server, database: words[0]), shards: [])
        var plan = Plan.full
        plan.seconds = Double(words[2]) ?? plan.seconds
        let (callers, timed) = (Int(words[1]) ?? 64, plan)
        let run = try await withRouter(cluster) {
            callers == 0
                ? try await pageLoad($0, plan: timed, watching: cluster)
                : try await storeLoad($0, callers: callers, plan: timed, watching: cluster)
        }
        print(run)
    }

    private static func run(_ options: Options) async throws {
        let start = ContinuousClock.now
        let stage = try await Stage.make(
            below: options.folder, repository: options.repository, plan: options.plan)
        var report = Report()
        report.machine = try await Machine.facts(stage.servers[0], folder: options.folder)
        let facts = report.machine.sorted { $0.key < $1.key }.map { "\($0): \($1)" }
        print(facts.joined(separator: ", "))
        print("set up in \(short((.now - start).seconds)) s; \(options.plan.rounds) rounds")
        print("\n" + Report.header)
        for phase in phases where options.only == nil || options.only == phase {
            try await run(phase, stage, &report)
        }
        print("\n\(short((.now - start).seconds)) s in all. A missed target is no failure here.")
        if let path = options.json { try report.write(to: path) }
    }

    private static func run(
        _ phase: String, _ stage: Stage, _ report: inout Report
    ) async throws {
        switch phase {
        case "route": try await RoutePhase(stage: stage).run(&report)
        case "write": try await WritePhase(stage: stage).run(&report)
        case "safety": try await SafetyPhase(stage: stage).run(&report)
        case "latency": try await LatencyPhase(stage: stage).run(&report)
        case "proxy": try await ProxyPhase(stage: stage).run(&report)
        case "history": try await HistoryPhase(stage: stage).run(&report)
        case "memory": try await MemoryPhase(stage: stage).run(&report)
        case "faults": try await FaultPhase(stage: stage).run(&report)
        default: throw BenchError(description: "there is no phase '\(phase)'")
        }
    }
}

/// The command line.
private struct Options {
    var folder = ""
    var repository = ""
    var only: String?
    var json: String?
    var plan = Plan.full

    init(_ words: [String]) {
        var words = words[...]
        while let word = words.popFirst() {
            switch word {
            case "--quick": plan = .quick
            case "--folder": folder = words.popFirst() ?? ""
            case "--repository": repository = words.popFirst() ?? ""
            case "--json": json = words.popFirst()
            case "--stall":
                guard let seconds = words.popFirst().flatMap(Double.init), seconds > 0 else {
                    Options.refuse()
                }
                plan.stallSeconds = seconds
            case "--only": only = words.popFirst() ?? ""
            default: Options.refuse()
            }
        }
        let isKnown = only.map(RouterBench.phases.contains) ?? true
        if folder.isEmpty || repository.isEmpty || !isKnown { Options.refuse() }
    }

    private static func refuse() -> Never {
        let phases = RouterBench.phases.joined(separator: "|")
        let usage = """
            usage: scripts/bench router [--quick] [--only \(phases)]
                                        [--stall SECONDS] [--json FILE]

            """
        FileHandle.standardError.write(Data(usage.utf8))
        exit(64)
    }
}
