import ArgumentParser
import Foundation
import ShardOperations

extension MigrateCommands {
    /// `shardctl migrate verify`
    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compares what every database is with what its files make.",
            discussion: """
                Examples: shardctl migrate verify
                          shardctl migrate verify --only shard-b --sql > repair.sql
                          shardctl migrate verify --against shard-a

                Changes nothing. Exit code 3 when something differs.
                """)

        @Option(help: "Compare shards with this one instead of with the files.")
        var against: String?
        @Flag(help: "Compute every fingerprint anew, whatever was seen before.")
        var thorough = false
        @Flag(help: "Print nothing but the SQL that repairs, for psql.") var sql = false
        @Option(help: "Print this database alone: a shard's name, or 'catalog'.")
        var only: String?
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                var check = DriftCheck(cluster: cluster)
                check.isThorough = thorough
                if let against {
                    check.shardReference = try await cluster.snapshot(ofShard: against)
                }
                var databases = try await check.run()
                if let only {
                    databases.removeAll { $0.name != only }
                    guard !databases.isEmpty else {
                        throw OperationError.refused(
                            "there is no database '\(only)'", next: "shardctl shard list")
                    }
                }
                return MigrateVerifyReport(showsSQL: sql).report(databases)
            }
        }
    }

    /// `shardctl migrate baseline`
    struct BaselineCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "baseline",
            abstract: "Takes versions as done in a database that had its tables before.",
            discussion: """
                Examples: shardctl migrate baseline --to 1003 --shard shard-a
                          shardctl migrate baseline --to 1001 --endpoint 'host=10.0.0.7 dbname=chat'

                The database is compared with what the files would have made; nothing is run in it. \
                A database that is to become a shard is adopted before 'shardctl shard add'.
                """)

        @Option(help: "The last version that is taken as done.") var to: Int
        @Option(help: "A shard's name.") var shard: String?
        @Option(help: "A libpq connection string, for a database that is no shard yet.")
        var endpoint: String?
        @Flag(help: "Do it although the database differs from what the files make.")
        var acceptDifferences = false
        @OptionGroup var common: CommonOptions

        func validate() throws {
            guard (shard == nil) != (endpoint == nil) else {
                throw ValidationError("give one of --shard and --endpoint")
            }
        }

        func run() async throws {
            try await common.report {
                let place: Baseline.Place =
                    shard.map { .shard($0) } ?? .endpoint(endpoint ?? "")
                let outcome = try await Baseline(
                    cluster: try common.cluster(), place: place, upTo: to,
                    acceptsDifferences: acceptDifferences
                ).run()
                let versions = outcome.versions.map(String.init).joined(separator: ", ")
                return Report(
                    lines: ["taken as done: \(versions)"]
                        + outcome.differences.flatMap {
                            ["differs: \($0.words); this mends it:", "    \($0.repair)"]
                        },
                    json: [
                        "versions": .list(outcome.versions.map { .number($0) }),
                        "differences": .list(outcome.differences.map { .text($0.words) }),
                    ],
                    next: shard == nil
                        ? "shardctl shard add NAME --endpoint …" : "shardctl migrate up")
            }
        }
    }
}
