import ArgumentParser
import Foundation
import Glibc
import Postgres
import ShardOperations
import ShardRouter

/// `shardctl migrate …`
struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Brings the catalog and all shards to one schema.",
        subcommands: [New.self, MigrateStatus.self, Up.self])

    struct New: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a pair of files for the shards, or records edited ones.",
            discussion: "Example: shardctl migrate new add_reactions")

        @Argument(help: "Lower-case letters, digits and underscores.") var title: String?
        @Flag(help: "Only write migrations.sum anew, for files that were not applied yet.")
        var refresh = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let kinds = ["catalog", "shard"].map {
                    MigrationFiles(folder: common.migrationsFolder.appending(path: $0))
                }
                if refresh {
                    for files in kinds { try files.writeSums() }
                    return Report(
                        lines: ["migrations.sum is written"], json: ["files": .list([])],
                        next: "shardctl migrate status")
                }
                guard let title else { throw ValidationError("a title, or --refresh") }
                let names = try kinds[1].create(title: title)
                return Report(
                    lines: names, json: ["files": .list(names.map { .text($0) })],
                    next: "write the files, then: shardctl migrate new --refresh")
            }
        }
    }

    struct MigrateStatus: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status", abstract: "Says what is applied where.",
            discussion: "Example: shardctl migrate status --json")

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                report(try await common.cluster().migrate(isApplying: false))
            }
        }
    }

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Applies what is missing, catalog first.",
            discussion: "Example: shardctl migrate up")

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                report(try await common.cluster().migrate(isApplying: true))
            }
        }
    }

    private static func report(_ states: [Cluster.MigrationState]) -> Report {
        let rows = states.map { state in
            [
                state.database, "\(state.applied.last ?? 0)",
                state.pending.isEmpty
                    ? "-" : state.pending.map(String.init).joined(separator: " "),
            ]
        }
        let isPending = states.contains { !$0.pending.isEmpty }
        return Report(
            lines: table([["DATABASE", "VERSION", "PENDING"]] + rows),
            json: [
                "databases": .list(
                    states.map { state in
                        .object([
                            "name": .text(state.database),
                            "applied": .list(state.applied.map { .number($0) }),
                            "pending": .list(state.pending.map { .number($0) }),
                        ])
                    })
            ], next: isPending ? "shardctl migrate up" : "shardctl status",
            exitCode: isPending ? 3 : 0)
    }
}

/// `shardctl psql`
struct Psql: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Opens psql on a shard, on a room's shard, or on the catalog.",
        discussion: """
            Examples: shardctl psql shard-a
                      shardctl psql --room lobby -- -Atc 'select count(*) from messages'
                      shardctl psql catalog
            """)

    @Option(help: "The shard of this room.") var room: String?
    @OptionGroup var common: CommonOptions
    @Argument(help: "A shard's name, or 'catalog'; then, after --, arguments for psql.")
    var words: [String] = []

    func run() async throws {
        var arguments = words[...]
        let name = room == nil ? arguments.popFirst() : nil
        try await common.report {
            if room != nil, let first = arguments.first, !first.hasPrefix("-") {
                throw OperationError.refused(
                    "'\(first)' and --room both name a database",
                    next: "shardctl psql --room ROOM -- ARGUMENTS")
            }
            let settings = try await settings(name)
            // Everybody on this machine can read a command line, so the password is not on it.
            if let password = settings["password"] { setenv("PGPASSWORD", password, 1) }
            let all = ["psql", settings.withoutSecrets] + arguments
            var pointers = all.map { strdup($0) } + [nil]
            execvp("psql", &pointers)
            throw OperationError.failed("psql cannot be started", next: "scripts/bootstrap")
        }
    }

    private func settings(_ name: String?) async throws -> ConnectionSettings {
        let cluster = try common.cluster()
        if let room {
            return try cluster.settings(
                endpoint: try await cluster.locate(RoomID(room)).shard.endpoint)
        }
        guard let name else {
            throw OperationError.refused(
                "name a shard, 'catalog', or a room with --room", next: "shardctl shard list")
        }
        if name == "catalog" { return cluster.catalog }
        guard let shard = try await cluster.topology().shard(named: name) else {
            throw OperationError.refused(
                "there is no shard '\(name)'", next: "shardctl shard list")
        }
        return try cluster.settings(endpoint: shard.endpoint)
    }
}
