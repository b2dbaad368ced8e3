import Foundation

/// What can be said about files and folders without touching them.
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
