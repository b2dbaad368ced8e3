import Foundation
import GRDB
import ShardRouter

/// Reads what can be read of a damaged file that was set aside.
struct SpoolSalvage {
    /// The folder with the damaged file; it is not changed.
    let place: String
    /// Messages that are read together, or one by one where that fails.
    private static let rows: Int64 = 128
    /// So many numbers in a row without a message mean that none follows.
    private static let gap: Int64 = 100_000

    /// Adds every message that can be read to `file`, in order.
    ///
    /// Some may have been stored by their shard before; storing them again changes nothing.
    func copy(to file: SpoolFile) throws(SpoolError) {
        let scratch = file.folder + "/reading"
        do {
            // Opening a file changes it. A copy that a crash has left is of no use.
            if FileManager.default.fileExists(atPath: scratch) {
                try FileManager.default.removeItem(atPath: scratch)
            }
            try FileManager.default.copyItem(atPath: place, toPath: scratch)
        } catch {
            throw .unusable(folder: place, reason: "it cannot be copied: \(error)")
        }
        defer { remove(scratch) }
        let damaged: DatabaseQueue
        do {
            damaged = try DatabaseQueue(path: SpoolFolder.file(in: scratch))
        } catch {
            return  // It is no database at all.
        }
        // Messages of another cluster stay that: the server will not start with them.
        if let cluster = cluster(damaged) { try file.bind(to: cluster) }
        try copy(damaged, to: file)
    }

    private func cluster(_ damaged: DatabaseQueue) -> UUID? {
        do {
            return try damaged.read { try Data.fetchOne($0, sql: "select id from cluster") }
                .flatMap { UUID($0) }
        } catch {
            return nil
        }
    }

    private func copy(_ damaged: DatabaseQueue, to file: SpoolFile) throws(SpoolError) {
        let last = number(damaged, "select seq from sqlite_sequence where name = 'waiting'")
        let first = number(damaged, "select min(number) from waiting") ?? 1
        var number = first
        var lastFound = first
        while number <= min(last ?? .max, lastFound + Self.gap) {
            var found = messages(damaged, number..<number + Self.rows)
            if found == nil {
                found = (number..<number + Self.rows).flatMap {
                    messages(damaged, $0..<$0 + 1) ?? []
                }
            }
            if let found, !found.isEmpty {
                lastFound = number
                _ = try file.add(found)
            }
            number += Self.rows
        }
    }

    /// What `sql` answers; nil where that cannot be read.
    private func number(_ damaged: DatabaseQueue, _ sql: String) -> Int64? {
        do {
            return try damaged.read { try Int64.fetchOne($0, sql: sql) }
        } catch {
            return nil
        }
    }

    /// nil when one of them cannot be read.
    private func messages(_ damaged: DatabaseQueue, _ numbers: Range<Int64>) -> [Message]? {
        do {
            return try damaged.read { database in
                try GRDB.Row.fetchAll(
                    database, sql: "select * from waiting where number >= ? and number < ?",
                    arguments: [numbers.lowerBound, numbers.upperBound]
                ).map { try SpoolFile.message($0, folder: place) }
            }
        } catch {
            return nil
        }
    }

    private func remove(_ scratch: String) {
        do {
            try FileManager.default.removeItem(atPath: scratch)
        } catch {
            // A copy of a copy: what is left of it harms nobody.
        }
    }
}
