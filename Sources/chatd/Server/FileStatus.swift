import Foundation

/// What a file system says about a file.
struct FileStatus: Equatable {
    var isRegular: Bool
    var bytes: Int
    /// Who may do what with it, as `chmod` counts.
    var permissions: Int

    /// - Returns: nil when there is no such file, or it cannot be looked at.
    init?(_ path: String) {
        // Links are followed: what matters is what would be read.
        let file = URL(filePath: path).resolvingSymlinksInPath().path(percentEncoded: false)
        do {
            let attributes = try FileManager.default.attributesOfItem(atPath: file)
            isRegular = attributes[.type] as? FileAttributeType == .typeRegular
            bytes = (attributes[.size] as? NSNumber)?.intValue ?? 0
            permissions = (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0
        } catch {
            return nil  // Whoever opens the file says why.
        }
    }
}
