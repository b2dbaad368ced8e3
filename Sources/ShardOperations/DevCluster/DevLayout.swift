public import Foundation

/// The shape of a development cluster: which ports, and how many shards.
///
/// Kept beside the servers, so that every later command finds the cluster that was started.
public struct DevLayout: Codable, Sendable, Equatable {
    /// The catalog's port; the shards follow.
    public var portBase: Int
    public var redisPort: Int
    /// 1 … 26: `shard-a`, `shard-b` …
    public var shardCount: Int

    public init(portBase: Int = 54_320, redisPort: Int = 63_790, shardCount: Int = 3) {
        self.portBase = portBase
        self.redisPort = redisPort
        self.shardCount = shardCount
    }

    /// The layout of the cluster in `folder`; nil when there is none.
    public static func saved(in folder: URL) throws -> DevLayout? {
        let file = file(in: folder)
        guard FileManager.default.fileExists(atPath: file.path()) else { return nil }
        do {
            return try JSONDecoder().decode(DevLayout.self, from: Data(contentsOf: file))
        } catch {
            throw OperationError.failed(
                "\(file.path()) cannot be read: \(error.localizedDescription)",
                next: "remove the file, then: shardctl dev up")
        }
    }

    func save(in folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(self).write(to: Self.file(in: folder), options: .atomic)
    }

    static func file(in folder: URL) -> URL { folder.appending(path: "cluster.json") }

    /// Why this layout makes no sense; nil when it does.
    public var problem: String? {
        guard (1...26).contains(shardCount) else { return "a cluster has 1 to 26 shards" }
        guard portBase > 0, portBase + shardCount <= 65_535, (1...65_535).contains(redisPort)
        else { return "ports are 1 to 65535" }
        guard !(portBase...portBase + shardCount).contains(redisPort) else {
            return "Redis' port \(redisPort) is among those of the databases"
        }
        return nil
    }

    /// Why a cluster that was made as `saved` cannot become this; nil when it can.
    ///
    /// The shards' ports are in the catalog, so they stay; shards can be added but not removed.
    func refusal(from saved: DevLayout) -> String? {
        guard portBase == saved.portBase else {
            return "the cluster was made with its ports from \(saved.portBase) up"
        }
        guard shardCount >= saved.shardCount else {
            return "the cluster was made with \(saved.shardCount) shards"
        }
        return nil
    }
}
