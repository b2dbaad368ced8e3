import BenchKit
import Foundation
import Glibc

/// `MigrateBench --folder DIR --repository DIR [--quick] [--only NAME] [--json FILE]`
@main struct MigrateBench {
    static let phases = ["status", "apply", "impact"]

    static func main() async {
        do {
            let words = Array(CommandLine.arguments.dropFirst())
            if words.count == 2, words[0] == "load" {
                try await QueryProgram(settings: QuerySettings.read(words[1])).run()
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
        let stage = try MigrateStage.make(
            below: options.folder, repository: options.repository, extent: options.extent)
        var report = Report()
        report.machine = try await Machine.facts(stage.servers[0], folder: options.folder)
        report.machine["psql"] = try shell("\(stage.psql) --version").trimmed
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
        _ phase: String, _ stage: MigrateStage, _ report: inout Report
    ) async throws {
        switch phase {
        case "status": try await StatusPhase(stage: stage).run(&report)
        case "apply": try await ApplyPhase(stage: stage).run(&report)
        case "impact": try await ImpactPhase(stage: stage).run(&report)
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
        while let word = words.popFirst() {
            switch word {
            case "--quick": extent = .quick
            case "--folder": folder = words.popFirst() ?? ""
            case "--repository": repository = words.popFirst() ?? ""
            case "--json": json = words.popFirst()
            case "--only": only = words.popFirst() ?? ""
            default: Options.refuse()
            }
        }
        let isKnown = only.map(MigrateBench.phases.contains) ?? true
        if folder.isEmpty || repository.isEmpty || !isKnown { Options.refuse() }
    }

    private static func refuse() -> Never {
        let phases = MigrateBench.phases.joined(separator: "|")
        let usage = "usage: scripts/bench migrate [--quick] [--only \(phases)] [--json FILE]\n"
        FileHandle.standardError.write(Data(usage.utf8))
        exit(64)
    }
}

extension String {
    var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
