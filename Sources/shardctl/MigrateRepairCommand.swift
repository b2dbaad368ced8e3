import ArgumentParser
import ShardOperations

extension MigrateCommands {
    /// `shardctl migrate repair`
    struct Repair: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says what needs a human in which database, and writes the answer down.",
            discussion: """
                Examples: shardctl migrate repair
                          shardctl migrate repair shard-b --step 1004/2 --done
                          shardctl migrate repair shard-b --accept 1003

                It changes what shardctl believes about the database, never the database's own \
                tables. Look at them first.
                """)

        @Argument(help: "A shard's name, or 'catalog'.") var database: String?
        @Option(help: "VERSION/STATEMENT whose end nobody saw; with --done or --again.")
        var step: String?
        @Flag(help: "That statement has run.") var done = false
        @Flag(help: "That statement is to run again.") var again = false
        @Option(help: "Take a migration out of the history that is no more in the files.")
        var forget: Int?
        @Option(help: "Believe that the database is as the file of this version says.")
        var accept: Int?
        @OptionGroup var common: CommonOptions

        func validate() throws {
            let decisions = [step != nil, forget != nil, accept != nil].count { $0 }
            guard decisions <= 1 else {
                throw ValidationError("one of --step, --forget and --accept at a time")
            }
            guard (database == nil) == (decisions == 0) else {
                throw ValidationError(
                    database == nil
                        ? "name the database" : "say what is true: --step, --forget or --accept")
            }
            guard (step != nil) == (done != again) else {
                throw ValidationError("--step takes one of --done and --again")
            }
            if let step { _ = try place(step) }
        }

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                guard let database, let decision = try decision() else {
                    return MigrateReport.repairs(try await FleetSurvey.take(cluster))
                }
                let words = try await MigrationRepair(cluster: cluster, database: database)
                    .run(decision)
                return Report(
                    lines: [words], json: ["database": .text(database), "what": .text(words)],
                    next: "shardctl migrate status")
            }
        }

        private func decision() throws -> MigrationRepair.Decision? {
            if let forget { return .forget(version: forget) }
            if let accept { return .accept(version: accept) }
            guard let step else { return nil }
            let (version, number) = try place(step)
            return done
                ? .stepIsDone(version: version, step: number)
                : .stepRunsAgain(version: version, step: number)
        }

        private func place(_ text: String) throws -> (version: Int, step: Int) {
            let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
            guard parts.count == 2, let version = parts[0], let step = parts[1] else {
                throw ValidationError("--step is VERSION/STATEMENT, such as 1004/2")
            }
            return (version, step)
        }
    }
}
