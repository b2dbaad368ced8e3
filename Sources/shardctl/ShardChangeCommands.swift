import ArgumentParser
import ShardOperations
import ShardRouter

extension ShardCommands {
    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Changes a shard's weight or address.",
            discussion: """
                Examples: shardctl shard set shard-b --weight 2
                          shardctl shard set shard-b --endpoint 'host=10.0.0.7 dbname=chat'
                """)

        @Argument var name: String
        @Option(help: "Its share relative to the others.") var weight: Int?
        @Option(help: "A libpq connection string without user and password.")
        var endpoint: String?
        @OptionGroup var common: CommonOptions

        func validate() throws {
            guard weight != nil || endpoint != nil else {
                throw ValidationError("--weight or --endpoint")
            }
        }

        func run() async throws {
            try await common.report {
                let changes = ShardChanges(cluster: try common.cluster())
                var outcome: ShardChanges.Outcome?
                if let endpoint {
                    outcome = try await changes.setEndpoint(name, to: endpoint)
                }
                if let weight { outcome = try await changes.setWeight(name, to: weight) }
                guard let outcome else { throw ValidationError("--weight or --endpoint") }
                return report(
                    outcome,
                    "shard \(name) has weight \(outcome.shard.weight), at \(outcome.shard.endpoint)",
                    next: weight == nil ? "shardctl status" : "shardctl plan")
            }
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Has plans bring a shard's slots to the others.",
            discussion: """
                Examples: shardctl shard drain shard-b
                          shardctl shard drain shard-b --undo
                """)

        @Argument var name: String
        @Flag(help: "Leave it its share again.") var undo = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let outcome = try await ShardChanges(cluster: try common.cluster())
                    .drain(name, isUndoing: undo)
                return report(
                    outcome,
                    "shard \(name) is \(outcome.shard.state.rawValue) and owns "
                        + "\(outcome.slots) slots",
                    next: undo || outcome.slots > 0
                        ? "shardctl plan" : "shardctl shard remove \(name) --yes")
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes an empty shard out of the cluster for ever. Its database stays.",
            discussion: "Example: shardctl shard remove shard-b --yes")

        @Argument var name: String
        @Flag(help: "Confirms it, also when old copies are not purged yet.") var yes = false
        @Flag(help: "Its server is gone for ever: do not ask it.") var lost = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let outcome = try await ShardChanges(cluster: try common.cluster())
                    .remove(name, isConfirmed: yes, isLost: lost)
                return report(
                    outcome, "shard \(name) is \(outcome.shard.state.rawValue)",
                    next: "shardctl shard list")
            }
        }
    }

    private static func report(
        _ outcome: ShardChanges.Outcome, _ line: String, next: String
    ) -> Report {
        var json = fields(of: outcome.shard, outcome.slots)
        json["warnings"] = .list(outcome.warnings.map { .text($0) })
        return Report(
            lines: [line] + outcome.warnings.map { "warning: \($0)" }, json: json, next: next)
    }
}
