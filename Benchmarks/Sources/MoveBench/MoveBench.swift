import BenchKit
import Foundation
import Glibc

/// `MoveBench --folder DIR --repository DIR [--quick] [--only NAME] [--rows N] [--json FILE]`
@main struct MoveBench {
    static let phases = ["copy", "pause", "balance", "many"]

    static func main() async {
        do {
            let words = Array(CommandLine.arguments.dropFirst())
            if words.count == 2, words[0] == "load" {
                try await LoadProgram(settings: LoadSettings.read(words[1])).run()
            } else {
                try await run(Options(words))
            }
        } catch {
            FileHandle.standardError.write(Data("bench: \(error)\n".utf8))
            exit(1)
        }
    }

    private static func run(_ options: Options) async throws {
        let start = ContinuousClock.now
        let stage = try MoveStage.make(
            below: options.folder, repository: options.repository, extent: options.extent)
        var report = Report()
        report.machine = try await Machine.facts(stage.servers[0], folder: options.folder)
        report.machine["rows"] = "\(options.extent.rows)"
        let facts = report.machine.sorted { $0.key < $1.key }.map { "\($0): \($1)" }
        print(facts.joined(separator: ", "))
        print("servers are up after \(short((.now - start).seconds)) s")
        print("\n" + Report.header)
        for phase in phases where options.only == nil || options.only == phase {
            try await run(phase, stage, &report)
        }
        print("\n\(short((.now - start).seconds)) s in all. A missed target is no failure here.")
        if let path = options.json { try report.write(to: path) }
    }

    private static func run(
        _ phase: String, _ stage: MoveStage, _ report: inout Report
    ) async throws {
        switch phase {
        case "copy": try await CopyPhase(stage: stage).run(&report)
        case "pause": try await PausePhase(stage: stage).run(&report)
        case "balance": try await BalancePhase(stage: stage).run(&report)
        case "many": try await ManyPhase(stage: stage).run(&report)
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
    var extent = Extent.full

    init(_ words: [String]) {
        var words = words[...]
        var rows: Int?
        while let word = words.popFirst() {
            switch word {
            case "--quick": extent = .quick
            case "--folder": folder = words.popFirst() ?? ""
            case "--repository": repository = words.popFirst() ?? ""
            case "--json": json = words.popFirst()
            case "--only": only = words.popFirst() ?? ""
            case "--rows":
                guard let count = words.popFirst().flatMap({ Int($0) }), count >= 10_000 else {
                    Options.refuse()
                }
                rows = count
            default: Options.refuse()
            }
        }
        extent.rows = rows ?? extent.rows
        let isKnown = only.map(MoveBench.phases.contains) ?? true
        if folder.isEmpty || repository.isEmpty || !isKnown { Options.refuse() }
    }

    private static func refuse() -> Never {
        let phases = MoveBench.phases.joined(separator: "|")
        let usage = """
            usage: scripts/bench moves [--quick] [--only \(phases)] [--rows N] [--json FILE]
                   N is at least 10000

            """
        FileHandle.standardError.write(Data(usage.utf8))
        exit(64)
    }
}
