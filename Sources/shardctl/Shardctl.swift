import ArgumentParser

/// The operator's command line.
@main
struct Shardctl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shardctl",
        abstract: "Controls the PostgreSQL shards that chat rooms live on.",
        discussion: """
            The catalog is named by --catalog or SHARD_CATALOG, a libpq connection string; without \
            both, the development cluster in ./.dev is used if there is one.

            Exit codes: 0 done · 1 failed · 2 refused · 3 pending or differences found · 64 usage
            """,
        subcommands: [
            Init.self, Dev.self, ShardCommands.self, RingCommands.self, RoomCommands.self,
            PlanCommands.self, RebalanceCommands.self, MoveCommands.self, SlotCommands.self,
            MigrateCommands.self, Status.self, Doctor.self, Psql.self,
        ])

    /// Wrong usage is one JSON object too, for those who asked for JSON.
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            let isUsage = exitCode(for: error) == .validationFailure
            if isUsage, CommandLine.arguments.contains("--json") {
                printError(
                    code: "usage", message: message(for: error), next: "shardctl --help")
                Self.exit(withError: ExitCode.validationFailure)
            }
            exit(withError: error)
        }
    }
}
