import ArgumentParser
import Foundation
import ShardOperations

/// Where the development cluster is, and its shape.
struct DevOptions: ParsableArguments {
    @Option(help: "The cluster's folder.") var dir = ".dev"
    @Option(help: "The catalog's port; the shards follow. (default: 54320)") var portBase: Int?
    @Option(help: "Redis' port. (default: 63790)") var redisPort: Int?
    @Option(help: "How many shards, 1 to 26. (default: 3)") var shards: Int?

    func validate() throws {
        if let problem = layout(over: DevLayout()).problem { throw ValidationError(problem) }
    }

    /// The cluster as it should be: what is in the folder, with what the options change.
    func wanted(_ migrations: URL) throws -> DevCluster {
        let known = try DevLayout.saved(in: URL(filePath: dir)) ?? DevLayout()
        return cluster(layout(over: known), migrations)
    }

    /// The cluster that is in the folder; the options matter only where none was made.
    func existing(_ migrations: URL) throws -> DevCluster {
        let known = try DevLayout.saved(in: URL(filePath: dir)) ?? layout(over: DevLayout())
        return cluster(known, migrations)
    }

    private func cluster(_ layout: DevLayout, _ migrations: URL) -> DevCluster {
        DevCluster(folder: URL(filePath: dir), layout: layout, migrations: migrations)
    }

    private func layout(over known: DevLayout) -> DevLayout {
        DevLayout(
            portBase: portBase ?? known.portBase, redisPort: redisPort ?? known.redisPort,
            shardCount: shards ?? known.shardCount)
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
                let cluster = try dev.wanted(common.migrationsFolder)
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
                        "folder": .text(cluster.folder.path()),
                    ], next: "shardctl ring show")
            }
        }
    }

    struct Down: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stops the cluster; its data stays.",
            discussion: """
                Examples: shardctl dev down --only redis,shard-a
                          shardctl dev down --wipe --yes
                """)

        @OptionGroup var dev: DevOptions
        @Option(help: "Names, with commas between them.") var only: String?
        @Flag(help: "Remove the data as well.") var wipe = false
        @Flag(help: "Confirms --wipe.") var yes = false
        @OptionGroup var common: CommonOptions

        func validate() throws {
            if wipe, only != nil { throw ValidationError("--wipe removes the whole cluster") }
        }

        func run() async throws {
            try await common.report {
                let cluster = try dev.existing(common.migrationsFolder)
                guard !wipe || yes else {
                    throw OperationError.refused(
                        "--wipe removes all data in \(cluster.folder.path())",
                        next: "shardctl dev down --wipe --yes")
                }
                let names = only.map { Set($0.split(separator: ",").map(String.init)) }
                let stopped =
                    try await wipe ? cluster.wipe() : cluster.down(only: names)
                return Report(
                    lines: [
                        stopped.isEmpty
                            ? "nothing ran" : "stopped \(stopped.joined(separator: ", "))"
                    ] + (wipe ? ["removed the data in \(cluster.folder.path())"] : []),
                    json: [
                        "stopped": .list(stopped.map { .text($0) }), "wiped": .flag(wipe),
                    ], next: "shardctl dev up")
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
                let cluster = try dev.existing(common.migrationsFolder)
                let servers = cluster.servers
                let isWhole = servers.allSatisfy { $0.pid != nil }
                return Report(
                    lines: table(
                        [["SERVER", "PORT", "PROCESS", "FOLDER"]]
                            + servers.map { server in
                                [
                                    server.name, "\(server.port)",
                                    server.pid.map { "\($0)" } ?? "-",
                                    server.folder,
                                ]
                            }),
                    json: [
                        "servers": .list(
                            servers.map { server in
                                .object([
                                    "name": .text(server.name), "port": .number(server.port),
                                    "running": .flag(server.pid != nil),
                                    "pid": server.pid.map { .number($0) } ?? .null,
                                    "folder": .text(server.folder),
                                ])
                            })
                    ], next: isWhole ? "shardctl status" : "shardctl dev up",
                    exitCode: isWhole ? 0 : 3)
            }
        }
    }
}
