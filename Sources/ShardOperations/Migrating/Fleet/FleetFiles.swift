import Crypto
import Foundation

/// The files of both schemas, read once and pinned by their sum.
struct FleetFiles: Sendable {
    let catalog: [Migration]
    let shard: [Migration]

    init(_ cluster: Cluster) throws {
        catalog = try MigrationFiles(folder: cluster.migrations.appending(path: "catalog")).load()
        shard = try MigrationFiles(folder: cluster.migrations.appending(path: "shard")).load()
    }

    /// SHA-256 over the sums of all files.
    var sum: String {
        let lines = (catalog + shard).map { "\($0.version) \($0.checksum)\n" }.joined()
        return SHA256.hash(data: Data(lines.utf8)).hexadecimal
    }
}

extension Sequence where Self: Sendable, Element: Sendable {
    /// The answers for all elements, in their order; so many at a time.
    func concurrently<Value: Sendable>(
        atMost width: Int, _ body: @escaping @Sendable (Element) async -> Value
    ) async -> [Value] {
        await withTaskGroup(of: (Int, Value).self) { group in
            var answers: [Int: Value] = [:]
            for (index, element) in enumerated() {
                if index >= width, let (place, value) = await group.next() {
                    answers[place] = value
                }
                group.addTask { (index, await body(element)) }
            }
            for await (place, value) in group { answers[place] = value }
            return answers.sorted { $0.key < $1.key }.map(\.value)
        }
    }
}
