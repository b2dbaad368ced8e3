import BenchKit
import Foundation
import Postgres
import ShardOperations
import ShardRouter

/// How much is measured, and how often.
struct Extent: Sendable {
    /// Databases whose status is asked, and how often.
    var statusShards = 64
    var statusRounds: Int
    /// Databases that get the small migrations, and how often.
    var applyShards = 32
    var applyRounds: Int
    /// How often rivals are taken that need half a minute.
    var slowRounds: Int
    /// Whether those are taken one by one too, which needs minutes, and is done once.
    var isPatient: Bool
    /// Shards under queries, and how often each way of migrating them is taken.
    var impactShards = 8
    var impactRounds: Int
    /// How long the reader of each of them stays in its transaction.
    var readerSeconds: Double

    static let full = Extent(
        statusRounds: 9, applyRounds: 3, slowRounds: 3, isPatient: true, impactRounds: 3,
        readerSeconds: 60)
    static let quick = Extent(
        statusRounds: 5, applyRounds: 1, slowRounds: 1, isPatient: false, impactRounds: 1,
        readerSeconds: 10)
}

/// The two servers that the phases share, and the programs that are measured.
struct MigrateStage: Sendable {
    let extent: Extent
    let servers: [BenchServer]
    let folder: String
    let repository: String
    /// Not by the name alone: Debian's wrapper takes a tenth of a second.
    let psql: String
    /// The one that was built beside this program.
    let shardctl: String

    static func make(
        below folder: String, repository: String, extent: Extent
    ) throws -> MigrateStage {
        let programs = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent()
        return MigrateStage(
            extent: extent,
            servers: try ["server-1", "server-2"].map { try BenchServer.start($0, below: folder) },
            folder: folder, repository: repository, psql: "\(try binaries())/psql",
            shardctl: programs.appending(path: "shardctl").path())
    }

    /// Databases of their own at the repository's last version, half of them on each server.
    ///
    /// - Parameter files: migrations of an application for the shards, which nobody has yet.
    func fleet(
        _ name: String, shards: Int, files: [MigrationText] = []
    ) async throws -> MigratedFleet {
        let databases = try await BenchCluster.make(
            name, on: servers, shards: shards, repository: repository)
        let home = "\(folder)/\(name)"
        try shell("mkdir -p '\(home)' && cp -r '\(repository)/migrations' '\(home)/migrations'")
        let migrations = URL(filePath: "\(home)/migrations")
        let shard = migrations.appending(path: "shard")
        for file in files {
            try Data(file.sql.utf8).write(to: shard.appending(path: "\(file.name).up.sql"))
        }
        try MigrationFiles(folder: shard).writeSums()
        try databases.shards.map { $0.connectionString + "\n" }.joined()
            .write(toFile: "\(home)/places", atomically: true, encoding: .utf8)
        return MigratedFleet(
            databases: databases,
            operations: Cluster(
                catalog: try ConnectionSettings(databases.catalog.connectionString),
                migrations: migrations),
            home: home, stage: self)
    }

    /// What the arm before has left in memory is on the disk.
    func settle() async throws {
        for server in servers { try await runScript("checkpoint", at: server.place("postgres")) }
    }
}

/// A migration of an application.
struct MigrationText: Sendable {
    /// Such as `1001_notes`.
    var name: String
    var sql: String
}

/// A fleet as its databases, as its operator and as a user of the shell sees it.
struct MigratedFleet: Sendable {
    let databases: BenchCluster
    let operations: Cluster
    let home: String
    let stage: MigrateStage

    /// A file with the connection string of a shard in each line.
    var places: String { "\(home)/places" }
    var shardFiles: String { "\(home)/migrations/shard" }

    /// A command line of `shardctl migrate`.
    func migrate(_ words: String) -> String {
        "SHARD_CATALOG='\(databases.catalog.connectionString)' '\(stage.shardctl)' migrate "
            + "\(words) --migrations '\(home)/migrations'"
    }

    /// Forgets the application's migrations after `undo`, which takes back what they do.
    func reset(_ undo: String) async throws {
        for shard in databases.shards {
            try await runScript(
                """
                \(undo);
                delete from shard.migrations where version > 1000;
                delete from shard.migration_steps where version > 1000;
                """, at: shard.connectionString)
        }
        try await stage.settle()
    }
}
