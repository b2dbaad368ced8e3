import Foundation
import Glibc

/// What can be said about files and folders without touching them.
enum FilePlaces {
    /// Why nothing can be written to `folder`, which is made when it is not there; nil when it can.
    static func trouble(writingTo folder: String) -> String? {
        var place = URL(filePath: folder).standardizedFileURL
        var status = stat()
        while stat(place.path(percentEncoded: false), &status) != 0 {
            guard errno == ENOENT, place.pathComponents.count > 1 else {
                return String(cString: strerror(errno))
            }
            place.deleteLastPathComponent()
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            return "\(place.path(percentEncoded: false)) is not a folder"
        }
        guard access(place.path(percentEncoded: false), W_OK | X_OK) == 0 else {
            return "\(place.path(percentEncoded: false)): \(String(cString: strerror(errno)))"
        }
        return nil
    }

    static func mode(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode : 0
    }

    static func folder(of file: String) -> String {
        URL(filePath: file).deletingLastPathComponent().path(percentEncoded: false)
    }
}
