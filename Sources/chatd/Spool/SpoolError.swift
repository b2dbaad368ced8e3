import GRDB
import Glibc

/// Why a spool cannot be used.
enum SpoolError: Error, Equatable {
    /// Another process has it.
    case inUse(folder: String, processID: Int32?)
    /// The folder or the file cannot be used.
    case unusable(folder: String, reason: String)
    /// The file is damaged.
    case damaged(folder: String, reason: String)
    /// It holds messages of another cluster.
    case foreign(folder: String)
    /// A newer version of this program has made it.
    case newer(folder: String, version: Int)
}

extension SpoolError: CustomStringConvertible {
    var description: String {
        switch self {
        case .inUse(let folder, let processID):
            "the spool \(folder) is in use by another process"
                + (processID.map { " (\($0))" } ?? "")
                + "; each server needs a folder of its own, see --spool-dir"
        case .unusable(let folder, let reason):
            "the spool \(folder) cannot be used: \(reason)"
        case .damaged(let folder, let reason):
            "the spool \(folder) is damaged: \(reason)"
        case .foreign(let folder):
            "the spool \(folder) holds messages of another cluster; choose another folder with "
                + "--spool-dir, or start a server of that cluster with this one"
        case .newer(let folder, let version):
            "the spool \(folder) was made by a newer version of chatd (format \(version))"
        }
    }

    /// 2 where something is refused, 1 where something failed.
    var exitCode: Int32 {
        switch self {
        case .inUse, .foreign, .newer: 2
        case .unusable, .damaged: 1
        }
    }

    /// What the system says about the call that has just failed.
    static func system(folder: String) -> SpoolError {
        .unusable(folder: folder, reason: String(cString: strerror(errno)))
    }

    /// What SQLite says about the file in `folder`.
    init(_ error: any Error, folder: String) {
        guard let error = error as? DatabaseError else {
            self = .unusable(folder: folder, reason: "\(error)")
            return
        }
        let reason = error.message ?? "SQLite error \(error.extendedResultCode.rawValue)"
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: self = .damaged(folder: folder, reason: reason)
        default: self = .unusable(folder: folder, reason: reason)
        }
    }
}
