import Foundation
import Glibc

/// What can be said about files and folders while they stay as they are.
enum FilePlaces {
    /// Why nothing can be written to `folder`, which is made when it is not there; nil when it can.
    static func trouble(writingTo folder: String) -> String? {
        let files = FileManager.default
        var place = URL(filePath: folder).standardizedFileURL
        var isFolder = false
        while !files.fileExists(atPath: path(place), isDirectory: &isFolder) {
            guard place.pathComponents.count > 1 else { return "there is no such place" }
            place.deleteLastPathComponent()
        }
        guard isFolder else { return "\(path(place)) is not a folder" }
        guard files.isWritableFile(atPath: path(place)), files.isExecutableFile(atPath: path(place))
        else { return "\(path(place)): Permission denied" }
        if path(place) == path(URL(filePath: folder).standardizedFileURL) { return nil }
        return trouble(makingFoldersIn: path(place))
    }

    /// Found out by making one, and taking it away again: rights alone do not tell. File systems
    /// such as `/proc` take no folders of anybody, and root has all rights everywhere.
    private static func trouble(makingFoldersIn place: String) -> String? {
        let probe = "\(place == "/" ? "" : place)/.chatd-check-\(UUID().uuidString)"
        guard mkdir(probe, 0o700) == 0 else {
            return "no folder can be made in \(place): \(String(cString: strerror(errno)))"
        }
        guard rmdir(probe) == 0 else {
            return "\(probe) cannot be removed again: \(String(cString: strerror(errno)))"
        }
        return nil
    }

    static func folder(of file: String) -> String {
        path(URL(filePath: file).deletingLastPathComponent())
    }

    /// Without a slash at its end, which would ask for a folder.
    private static func path(_ url: URL) -> String {
        let path = url.path(percentEncoded: false)
        return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    }
}
