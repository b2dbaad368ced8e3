import Foundation
import ShardOperations

/// A copy of the repository's migrations, to which a test adds its own.
final class MigrationCopy {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory
            .appending(path: "migrations-\(UUID().uuidString)")
        try FileManager.default.copyItem(at: Databases.migrations, to: folder)
    }

    deinit {
        do {
            try FileManager.default.removeItem(at: folder)
        } catch {
            print("cannot remove \(folder.path()): \(error)")
        }
    }

    /// The same cluster with these files.
    func cluster(_ databases: Databases) throws -> Cluster {
        Cluster(catalog: try databases.cluster().catalog, migrations: folder)
    }

    /// Writes a migration of the shards, such as `1001_notes`, and records it.
    func add(_ name: String, _ sql: String, down: String? = nil) throws {
        let shard = folder.appending(path: "shard")
        try Data(sql.utf8).write(to: shard.appending(path: "\(name).up.sql"))
        if let down {
            try Data(down.utf8).write(to: shard.appending(path: "\(name).down.sql"))
        }
        try MigrationFiles(folder: shard).writeSums()
    }

    func remove(_ name: String) throws {
        let shard = folder.appending(path: "shard")
        try FileManager.default.removeItem(at: shard.appending(path: "\(name).up.sql"))
        try MigrationFiles(folder: shard).writeSums()
    }
}
