import ArgumentParser
import Foundation
import Glibc
import Postgres
import ShardOperations
import ShardRouter

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
