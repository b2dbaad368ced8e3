import Foundation
import Glibc

/// The folder of a spool: its file, its lock, and what was set aside.
///
/// `@unchecked`: the descriptor never changes.
final class SpoolFolder: @unchecked Sendable {
    /// What can be seen without opening the file.
    enum Inspection: Equatable {
        case sound
        /// There is a log whose file is gone: SQLite would delete it.
        case lostFile(reason: String)
        /// SQLite would drop commits from the log.
        case brokenLog(reason: String)
    }

    let path: String
    /// Held for the life of this value; the system lets go of it whatever ends the process.
    private let lock: Int32
    /// Somebody who only looks has the lock for a moment.
    private static let lockAttempts = 20
    private static let lockPauseMicroseconds: UInt32 = 10_000

    /// Takes the folder for this process, and makes it when there is none.
    init(taking path: String) throws(SpoolError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700])
        } catch {
            throw .unusable(folder: path, reason: "it cannot be made: \(error)")
        }
        let file = open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .system(folder: path) }
        guard SpoolFolder.take(file) else {
            close(file)
            throw .inUse(folder: path, processID: SpoolFolder.holder(of: path))
        }
        let processID = Array("\(getpid())\n".utf8)
        guard ftruncate(file, 0) == 0, write(file, processID, processID.count) > 0 else {
            let error = SpoolError.system(folder: path)
            close(file)
            throw error
        }
        self.path = path
        lock = file
    }

    deinit { close(lock) }

    private static func take(_ file: Int32) -> Bool {
        for _ in 0..<lockAttempts {
            if flock(file, LOCK_EX | LOCK_NB) == 0 { return true }
            usleep(lockPauseMicroseconds)
        }
        return false
    }

    static func file(in folder: String) -> String { folder + "/spool.sqlite" }

    /// Who has the spool in `folder`; nil when nobody has.
    static func holder(of folder: String) -> Int32? {
        let file = open(folder + "/lock", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        if flock(file, LOCK_SH | LOCK_NB) == 0 { return nil }
        guard let text = FileManager.default.contents(atPath: folder + "/lock") else { return nil }
        return Int32(String(decoding: text, as: UTF8.self).prefix { $0.isNumber })
    }

    private static let endings = ["", "-wal", "-shm"]

    /// Looks for damage that opening the file would hide.
    func inspect() -> Inspection {
        let files = FileManager.default
        let file = SpoolFolder.file(in: path)
        guard let log = files.contents(atPath: file + "-wal"), !log.isEmpty else { return .sound }
        if (FileStatus(file)?.bytes ?? 0) == 0 {
            return .lostFile(reason: "its file is gone, its log is there")
        }
        return SpoolLog(Array(log)).damage.map { .brokenLog(reason: $0) } ?? .sound
    }

    /// Copies the files, as they are, into a folder of their own.
    ///
    /// - Returns: that folder.
    func copyAside() throws(SpoolError) -> String {
        let place = "\(path)/damaged-\(Int(Date().timeIntervalSince1970 * 1_000))"
        let draft = "\(path)/copying"
        do {
            let files = FileManager.default
            if files.fileExists(atPath: draft) { try files.removeItem(atPath: draft) }
            try files.createDirectory(atPath: draft, withIntermediateDirectories: true)
            for ending in Self.endings {
                let file = SpoolFolder.file(in: path) + ending
                guard files.fileExists(atPath: file) else { continue }
                try files.copyItem(atPath: file, toPath: "\(draft)/spool.sqlite\(ending)")
            }
            try files.moveItem(atPath: draft, toPath: place)
        } catch {
            throw .unusable(folder: path, reason: "a damaged file cannot be set aside: \(error)")
        }
        return place
    }

    /// What was set aside and not read to the end.
    func unread() throws(SpoolError) -> [String] {
        do {
            return try SpoolFolder.setAside(in: path).filter {
                !FileManager.default.fileExists(atPath: $0 + "/read")
            }
        } catch {
            throw .unusable(folder: path, reason: "\(error)")
        }
    }

    /// Everything in `place` that can be used is in the file.
    func markRead(_ place: String) throws(SpoolError) {
        guard FileManager.default.createFile(atPath: place + "/read", contents: nil) else {
            throw .unusable(folder: path, reason: "\(place) cannot be written to")
        }
    }

    /// Removes the files; a copy of them is aside.
    func removeFiles() throws(SpoolError) {
        do {
            for ending in Self.endings {
                let file = SpoolFolder.file(in: path) + ending
                guard FileManager.default.fileExists(atPath: file) else { continue }
                try FileManager.default.removeItem(atPath: file)
            }
        } catch {
            throw .unusable(folder: path, reason: "a damaged file cannot be removed: \(error)")
        }
    }

    /// What was set aside in `folder`, oldest first.
    static func setAside(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder)
            .filter { $0.hasPrefix("damaged-") }.sorted().map { "\(folder)/\($0)" }
    }
}
