import ArgumentParser
import Foundation
import Postgres
import ShardOperations
import ShardRouter

/// `shardctl migrate …`
struct MigrateCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Brings the catalog and all shards to one schema, while chat runs.",
        discussion: """
            Examples: shardctl migrate new add_reactions
                      shardctl migrate plan
                      shardctl migrate up --canary shard-a

            docs/migrations.md says how files are written and what happens when something fails.
            """,
        subcommands: [
            New.self, Lint.self, Plan.self, StatusOfMigrations.self, Up.self, Down.self,
            Verify.self, BaselineCommand.self, Repair.self,
        ])
}

extension MigrateCommands {
    /// `shardctl migrate new`
    struct New: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a pair of files for the shards, or records edited ones.",
            discussion: """
                Examples: shardctl migrate new add_reactions
                          shardctl migrate new --refresh

                Files of an application are numbered from 1001; those below belong to the programs \
                themselves.
                """)

        @Argument(help: "Lower-case letters, digits and underscores.") var title: String?
        @Flag(help: "Only write migrations.sum anew, for files that were not applied yet.")
        var refresh = false
        @Flag(help: "Number it among the files of these programs, below 1001.")
        var library = false
        @OptionGroup var common: CommonOptions

        func validate() throws {
            guard (title != nil) != refresh else {
                throw ValidationError("give a title, or --refresh")
            }
        }

        func run() async throws {
            try await common.report {
                let kinds = ["catalog", "shard"].map {
                    MigrationFiles(folder: common.migrationsFolder.appending(path: $0))
                }
                guard let title else {
                    for files in kinds { try files.writeSums() }
                    for files in kinds { _ = try files.load() }
                    return Report(
                        lines: ["migrations.sum is written"], json: ["files": .list([])],
                        next: "shardctl migrate plan")
                }
                let names = try kinds[1].create(
                    title: title, in: library ? .library : .application)
                let folder = kinds[1].folder
                return Report(
                    lines: names.map { folder.appending(path: $0).relativePath },
                    json: [
                        "folder": .text(folder.path()),
                        "files": .list(names.map { .text($0) }),
                    ],
                    next: "write the files, then: shardctl migrate new --refresh")
            }
        }
    }

    /// `shardctl migrate status`
    struct StatusOfMigrations: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status", abstract: "Says what is applied where.",
            discussion: """
                Example: shardctl migrate status --json

                Exit code 3 while something is pending, or a database needs a human.
                """)

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                MigrateReport.status(try await FleetSurvey.take(try common.cluster()))
            }
        }
    }

    /// `shardctl migrate up`
    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Applies what is missing: the catalog, then a canary, then the rest.",
            discussion: """
                Examples: shardctl migrate up
                          shardctl migrate up --canary shard-a --check 'select count(*) > 0 from rooms'
                          shardctl migrate up --resume

                It may be stopped at any moment: the same command goes on. Nothing else begins after \
                a failure; what runs already ends.
                """)

        @Option(help: "The last version wanted; all when absent.") var to: Int?
        @Option(help: "The shard that goes first, alone; the first one when absent.")
        var canary: String?
        @Option(help: "A query for the canary that must give true before the others follow.")
        var check: String?
        @Option(help: "Shards beside each other.") var parallel = 8
        @Option(help: "So many shards may fail before no other begins.") var maxFailures = 0
        @Flag(help: "Go on with the run that was stopped, and with nothing else.")
        var resume = false
        @Option(help: "How long locks are waited for, in all, for each file.")
        var wait = "10min"
        @Option(help: "How long open moves are waited for; without it they are a refusal.")
        var waitForMoves = "0"
        @Flag(help: "Apply files although the lint calls them dangerous.")
        var acceptFindings = false
        @OptionGroup var common: CommonOptions

        func validate() throws {
            guard (1...256).contains(parallel) else {
                throw ValidationError("--parallel is 1 to 256")
            }
            guard maxFailures >= 0 else { throw ValidationError("--max-failures is 0 or more") }
            _ = try (time(wait, "--wait"), time(waitForMoves, "--wait-for-moves"))
        }

        func run() async throws {
            try await common.report {
                var options = FleetOptions()
                (options.upTo, options.canary, options.check) = (to, canary, check)
                (options.parallel, options.maxFailures) = (parallel, maxFailures)
                options.isResuming = resume
                options.acceptsFindings = acceptFindings
                options.limits.patience = try time(wait, "--wait")
                options.movesPatience = try time(waitForMoves, "--wait-for-moves")
                let view = MigrateView(isJSON: common.json, .up)
                let result = try await FleetMigration(
                    cluster: try common.cluster(), options: options, tell: view.show
                ).up()
                view.finish()
                return MigrateReport.outcome(result, .up)
            }
        }
    }

    /// `shardctl migrate down`
    struct Down: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes the last migration of the shards back.",
            discussion: """
                Examples: shardctl migrate down
                          shardctl migrate down --yes --version 1003

                What the file for the way back drops is gone, with what was stored in it.
                """)

        @Option(help: "The version to take back: the last one, and no other.") var version: Int?
        @Flag(help: "Do not ask.") var yes = false
        @Flag(help: "Take back also what these programs themselves need.") var library = false
        @Option(help: "Shards beside each other.") var parallel = 8
        @Option(help: "So many shards may fail before no other begins.") var maxFailures = 0
        @Option(help: "How long locks are waited for, in all.") var wait = "10min"
        @OptionGroup var common: CommonOptions

        func validate() throws {
            guard (1...256).contains(parallel) else {
                throw ValidationError("--parallel is 1 to 256")
            }
            guard maxFailures >= 0 else { throw ValidationError("--max-failures is 0 or more") }
            _ = try time(wait, "--wait")
        }

        func run() async throws {
            try await common.report {
                var options = FleetOptions()
                (options.parallel, options.maxFailures) = (parallel, maxFailures)
                options.limits.patience = try time(wait, "--wait")
                options.takesLibraryBack = library
                let view = MigrateView(isJSON: common.json, .down)
                let fleet = FleetMigration(
                    cluster: try common.cluster(), options: options, tell: view.show)
                let last = try await fleet.last()
                try confirm(last)
                let result = try await fleet.down(expecting: last.version)
                view.finish()
                return MigrateReport.outcome(result, .down)
            }
        }

        private func confirm(_ last: Migration) throws {
            if let version, version != last.version {
                throw OperationError.refused(
                    "the last migration is \(last.name), not \(version)",
                    next: "shardctl migrate status")
            }
            guard !yes else { return }
            let statements = last.down?.statements.map { "  \($0.text);" } ?? []
            guard isatty(STDIN_FILENO) == 1, !common.json else {
                throw OperationError.refused(
                    "nobody can be asked whether \(last.name) may be taken back",
                    next: "shardctl migrate down --yes --version \(last.version)")
            }
            print("\(last.name) is taken back on all shards by:")
            print(statements.joined(separator: "\n"))
            print("type \(last.version) to go on: ", terminator: "")
            fflush(nil)
            guard readLine() == String(last.version) else {
                throw OperationError.refused("nothing was changed", next: "shardctl migrate status")
            }
        }
    }
}

/// `500ms`, `30s`, `10min`, `2h`, or `0`.
func time(_ text: String, _ option: String) throws -> Duration {
    if text == "0" { return .zero }
    for (unit, factor) in [("ms", 1), ("min", 60_000), ("s", 1_000), ("h", 3_600_000)]
    where text.hasSuffix(unit) {
        guard let number = Int(text.dropLast(unit.count)),
            (1...86_400_000 / factor).contains(number)
        else { break }
        return .milliseconds(number * factor)
    }
    throw ValidationError("\(option) is a time such as 30s or 10min, up to a day")
}
