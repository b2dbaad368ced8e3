import ArgumentParser
import Foundation
import ShardOperations

extension MigrateCommands {
    /// `shardctl migrate plan`
    struct Plan: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows what would run where, what it locks, and what is dangerous in it.",
            discussion: """
                Examples: shardctl migrate plan
                          shardctl migrate plan --to 1004 --sql

                Changes nothing. Exit code 3 while something is pending.
                """)

        @Option(help: "The last version wanted; all when absent.") var to: Int?
        @Flag(help: "Show long statements to their end.") var sql = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let plan = try await FleetPlan.make(try common.cluster(), upTo: to)
                return MigratePlanReport(showsAll: sql).report(plan)
            }
        }
    }

    /// `shardctl migrate lint`
    struct Lint: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says what is dangerous in the files; asks no database.",
            discussion: """
                Examples: shardctl migrate lint
                          shardctl migrate lint --from 1004
                          shardctl migrate lint --rules

                Without a database every table counts as big. Exit code 3 when something is dangerous.
                """)

        @Option(help: "The first version to read.") var from = MigrationSeries.application.rawValue
        @Flag(help: "List the rules instead.") var rules = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                guard !rules else { return MigratePlanReport.rules() }
                let folder = common.migrationsFolder.appending(path: "shard")
                let files = try MigrationFiles(folder: folder).load()
                // The earlier ones say which tables there are.
                let all = MigrationLint().findings(in: files.map { LintFile($0) })
                let wanted = Set(files.filter { $0.version >= from }.map(\.up.file))
                return MigratePlanReport.lint(
                    all.filter { wanted.contains($0.file) }
                        + MigrationLint().findings(
                            inWaysBackOf: files.filter { $0.version >= from }),
                    files: wanted.count)
            }
        }
    }
}
