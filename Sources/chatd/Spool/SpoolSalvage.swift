import Foundation
import GRDB
import ShardRouter

/// Reads what can be read of a damaged file that was set aside.
struct SpoolSalvage {
    /// The folder with the damaged file; it is not changed.
    let place: String
    /// Messages that are read together, or one by one where that fails.
    private static let rows: Int64 = 128
    /// So many numbers in a row without a message mean that none follows, where the file itself
    /// cannot say how many there are.
    private static let gap: Int64 = 10_000

    /// Adds every message that can be read to `file`, in order.
    ///
    /// Some may have been stored by their shard before; storing them again changes nothing.
    func copy(to file: SpoolFile) throws(SpoolError) {
        let scratch = place + "-reading"
        do {
            // Opening a file changes it.
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
        try copy(damaged, to: file)
    }

    private func copy(_ damaged: DatabaseQueue, to file: SpoolFile) throws(SpoolError) {
        let last = lastNumber(damaged)
        var number: Int64 = 1
        var lastFound: Int64 = 0
        while number <= last ?? (lastFound + Self.gap) {
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

    /// The highest number that was given; nil where that cannot be read.
    private func lastNumber(_ damaged: DatabaseQueue) -> Int64? {
        do {
            return try damaged.read {
                try Int64.fetchOne(
                    $0, sql: "select seq from sqlite_sequence where name = 'waiting'")
            }
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
