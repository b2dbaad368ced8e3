import Foundation
import Logging

/// Where the spool of a server is.
struct SpoolPlace: Sendable, Equatable {
    var folder: String
    /// Whether somebody named it: then a server does not start without it.
    var isGiven: Bool

    /// Warns of spools beside this one that hold messages and that no server has: they belong to a
    /// server whose address was changed.
    func warnOfOthers(_ logger: Logger) {
        guard !isGiven, FileManager.default.fileExists(atPath: folder) else { return }
        let place = URL(filePath: folder)
        let parent = place.deletingLastPathComponent().path()
        do {
            let names = try FileManager.default.contentsOfDirectory(atPath: parent)
            for name in names.sorted()
            where name.hasPrefix("spool-") && name != place.lastPathComponent {
                warn(parent + name, logger)
            }
        } catch {
            logger.warning(
                "other spools cannot be looked at", metadata: ["error": "\(error)"])
        }
    }

    private func warn(_ other: String, _ logger: Logger) {
        do throws(SpoolError) {
            let report = try SpoolReport(folder: other)
            guard report.rows > 0, report.heldBy == nil else { return }
            logger.warning(
                "messages wait in a spool that no server has; see 'chatd spool drain --help'",
                metadata: ["spool": "\(other)", "count": "\(report.rows)"])
        } catch {
            logger.warning(
                "a spool beside this one cannot be looked at",
                metadata: ["spool": "\(other)", "error": "\(error)"])
        }
    }
}
