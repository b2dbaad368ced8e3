import Foundation
import GRDB
import Glibc

/// What a spool holds, for people: never the texts.
struct SpoolReport: Encodable {
    private enum CodingKeys: CodingKey {
        case folder, rows, rooms, bytes, oldestSeconds, heldBy, refused, setAside, next
    }

    struct Refused: Encodable {
        var room: String
        var id: String
        var reason: String
    }

    private static let shownRefusals = 20

    var folder: String
    var rows = 0
    var rooms = 0
    var bytes = 0
    /// How long the oldest message waits, in seconds; nil when none does.
    var oldestSeconds: Int?
    /// The process that has the spool; nil when none has.
    var heldBy: Int32?
    var refused: [Refused] = []
    /// Folders with damaged files.
    var setAside: [String] = []
    var next = ""

    /// Looks into the spool in `folder` without taking it, beside a server that has it.
    ///
    /// - Throws: ``SpoolError``, also when this user may not look: nothing is said then.
    init(folder: String) throws(SpoolError) {
        self.folder = folder
        guard access(folder, F_OK) == 0 else {
            throw .unusable(folder: folder, reason: "there is no such folder, see --spool-dir")
        }
        guard access(folder, R_OK | X_OK) == 0 else {
            throw .unusable(
                folder: folder, reason: "it belongs to another user; run this as the server's user")
        }
        heldBy = SpoolFolder.holder(of: folder)
        let file = SpoolFolder.file(in: folder)
        do {
            setAside = try SpoolFolder.setAside(in: folder)
            if FileManager.default.fileExists(atPath: file) {
                try read(file)
            } else if setAside.isEmpty, access(folder + "/lock", F_OK) != 0 {
                throw SpoolError.unusable(
                    folder: folder, reason: "it is no spool, see --spool-dir")
            }
        } catch let error as SpoolError {
            throw error
        } catch {
            throw SpoolError(error, folder: folder)
        }
        next = advice
    }

    private mutating func read(_ file: String) throws {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(5)
        let database = try DatabaseQueue(path: file, configuration: configuration)
        try database.read { database in
            if let row = try GRDB.Row.fetchOne(
                database,
                sql: """
                    select count(*) as rows, count(distinct room) as rooms,
                        coalesce(sum(bytes), 0) as bytes, min(received_at) as oldest from waiting
                    """)
            {
                rows = row["rows"]
                rooms = row["rooms"]
                bytes = row["bytes"]
                if let oldest: Int64 = row["oldest"] {
                    let now = Int64(Date().timeIntervalSince1970 * 1_000_000)
                    oldestSeconds = Int(max(0, now - oldest) / 1_000_000)
                }
            }
            refused = try GRDB.Row.fetchAll(
                database, sql: "select room, id, reason from refused order by number"
            ).map { row in
                let id = UUID(row["id"] as Data)?.uuidString.lowercased() ?? "?"
                return Refused(room: row["room"], id: id, reason: row["reason"])
            }
        }
    }

    private var advice: String {
        if rows > 0, heldBy == nil { return "chatd spool drain --spool-dir \(folder)" }
        if let place = setAside.first {
            return "look at \(place), then move it away: docs/operating.md, \"A damaged spool\""
        }
        if !refused.isEmpty {
            return "decide about what was refused: docs/operating.md, \"Refused messages\""
        }
        return rows == 0
            ? "nothing to do"
            : "nothing to do: the server stores them as soon as their shard answers"
    }

    /// Lines for a terminal.
    var text: String {
        var lines = ["spool      \(folder)"]
        let age = oldestSeconds.map { ", the oldest for \($0) s" } ?? ""
        lines.append("waiting    \(rows) in \(rooms) rooms, \(bytes) bytes\(age)")
        lines.append("held by    \(heldBy.map { "process \($0)" } ?? "nobody")")
        lines.append("refused    \(refused.count)")
        for refused in refused.prefix(Self.shownRefusals) {
            lines.append("  room \(refused.room), message \(refused.id): \(refused.reason)")
        }
        if refused.count > Self.shownRefusals { lines.append("  … and more, see --json") }
        for place in setAside { lines.append("set aside  \(place)") }
        lines.append("next: \(next)")
        return lines.joined(separator: "\n")
    }
}
