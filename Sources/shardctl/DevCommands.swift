import ArgumentParser
import Foundation
import ShardOperations

/// Where the development cluster is.
struct DevOptions: ParsableArguments {
    @Option(help: "The cluster's folder.") var dir = ".dev"
    @Option(help: "The catalog's port; the shards follow.") var portBase = 54_320
    @Option(help: "Redis' port.") var redisPort = 63_790
    @Option(help: "How many shards, 1 to 26.") var shards = 3

    func validate() throws {
        guard (1...26).contains(shards), (1...65_000).contains(portBase),
            (1...65_535).contains(redisPort)
        else { throw ValidationError("ports are 1–65535, shards 1–26") }
    }

    func cluster(_ migrations: URL) -> DevCluster {
        DevCluster(
            folder: URL(filePath: dir).standardizedFileURL, portBase: portBase,
            redisPort: redisPort, shardCount: shards, migrations: migrations)
    }

    static func defaultCluster(_ migrations: URL) -> DevCluster {
        DevCluster(
            folder: URL(filePath: ".dev"), portBase: 54_320, redisPort: 63_790, shardCount: 3,
            migrations: migrations)
    }
}

/// `shardctl dev …`
struct Dev: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "A throw-away cluster of real servers for development.",
        subcommands: [Up.self, Down.self, DevStatus.self])

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Starts what does not run, and makes it ready.",
            discussion: "Example: shardctl dev up")

        @OptionGroup var dev: DevOptions
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let cluster = dev.cluster(common.migrationsFolder)
                let started = try await cluster.up()
                return Report(
                    lines: [
                        started.isEmpty
                            ? "everything runs already"
                            : "started \(started.joined(separator: ", "))"
                    ]
                        + table([
                            ["operator", "SHARD_CATALOG='\(cluster.catalog)'"],
                            ["chatd", "SHARD_CATALOG='\(cluster.chatdCatalog)'"],
                            ["redis", cluster.redisURL],
                        ]),
                    json: [
                        "started": .list(started.map { .text($0) }),
                        "catalog": .text(cluster.catalog),
                        "chatdCatalog": .text(cluster.chatdCatalog),
                        "redis": .text(cluster.redisURL),
                    ], next: "shardctl ring show")
            }
        }
    }

    struct Down: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stops the cluster; its data stays.",
            discussion: "Example: shardctl dev down --only redis,shard-a")

        @OptionGroup var dev: DevOptions
        @Option(help: "Names, with commas between them.") var only: String?
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let names = only.map { Set($0.split(separator: ",").map(String.init)) }
                let stopped = try await dev.cluster(common.migrationsFolder).down(only: names)
                return Report(
                    lines: [
                        stopped.isEmpty
                            ? "nothing ran" : "stopped \(stopped.joined(separator: ", "))"
                    ], json: ["stopped": .list(stopped.map { .text($0) })],
                    next: "shardctl dev up")
            }
        }
    }

    struct DevStatus: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status", abstract: "Says what runs.",
            discussion: "Example: shardctl dev status --json")

        @OptionGroup var dev: DevOptions
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let cluster = dev.cluster(common.migrationsFolder)
                let servers = cluster.servers
                let isWhole = servers.allSatisfy { $0.pid != nil }
                return Report(
                    lines: table(
                        [["SERVER", "PORT", "PROCESS", "FOLDER"]]
                            + servers.map { server in
                                [
                                    server.name, "\(server.port)",
                                    server.pid.map { "\($0)" } ?? "-",
                                    cluster.folder.appending(path: server.name).path(),
                                ]
                            }),
                    json: [
                        "servers": .list(
                            servers.map { server in
                                .object([
                                    "name": .text(server.name), "port": .number(server.port),
                                    "running": .flag(server.pid != nil),
                                    "pid": server.pid.map { .number($0) } ?? .null,
                                ])
                            })
                    ], next: isWhole ? "shardctl status" : "shardctl dev up",
                    exitCode: isWhole ? 0 : 3)
            }
        }
    }
}
