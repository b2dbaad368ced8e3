/// One thing in which a database's history is not what the files say.
///
/// Versions above the last applied one are pending, and no drift. Versions from 1001 belong to the
/// application and count by themselves.
public struct HistoryDrift: Sendable, Equatable {
    public enum Change: Sendable, Equatable {
        /// A later version is there, this one is not.
        case missing
        /// No file has this version.
        case extra
        case renamed(from: String, to: String)
        /// The file was edited after it was applied, or the row was.
        case changedChecksum(from: String, to: String)
        /// It was applied after a higher version.
        case late
        /// Steps of a file that is complete, or that no file explains.
        case leftoverSteps(Int)
    }

    public var version: Int
    public var title: String
    public var change: Change
    /// What to do, as a script whose comments say when.
    public var repair: String

    /// - Parameter leftovers: how many rows of `migration_steps` each version has. A version without
    ///   a row of the history is under way, or was stopped, and is left to `migrate up`.
    public static func differences(
        kind: SchemaKind, found: [HistoryEntry], leftovers: [Int: Int] = [:],
        expected: [Migration]
    ) -> [HistoryDrift] {
        let table = "\(kind.rawValue).migrations"
        let found = found.sorted { $0.version < $1.version }
        let files = Dictionary(uniqueKeysWithValues: expected.map { ($0.version, $0) })
        var drift = missing(table, found, expected)
        for (index, entry) in found.enumerated() {
            drift += differences(table, entry, files[entry.version])
            if entry.isRun,
                found[(index + 1)...].contains(where: {
                    MigrationSeries(of: $0.version) == MigrationSeries(of: entry.version)
                        && $0.appliedAt < entry.appliedAt
                })
            {
                drift.append(
                    HistoryDrift(
                        version: entry.version, title: entry.title, change: .late,
                        repair: "-- Applied after a higher version. Nothing to do when the schema "
                            + "does not differ."))
            }
        }
        for (version, steps) in leftovers
        where found.contains(where: { $0.version == version }) || files[version] == nil {
            drift.append(
                HistoryDrift(
                    version: version, title: files[version]?.title ?? "",
                    change: .leftoverSteps(steps),
                    repair: "delete from \(kind.rawValue).migration_steps where version = "
                        + "\(version);"))
        }
        return drift.sorted { $0.version < $1.version }
    }

    private static func missing(
        _ table: String, _ found: [HistoryEntry], _ expected: [Migration]
    ) -> [HistoryDrift] {
        expected.compactMap { file in
            let isPassed = found.contains {
                $0.version > file.version
                    && MigrationSeries(of: $0.version) == MigrationSeries(of: file.version)
            }
            guard isPassed, !found.contains(where: { $0.version == file.version }) else {
                return nil
            }
            return HistoryDrift(
                version: file.version, title: file.title, change: .missing,
                repair: """
                    -- Only when the database has what the file makes; else give the file a higher \
                    number.
                    insert into \(table) (version, title, checksum, duration_ms, origin)
                    values (\(file.version), '\(file.title)', '\(file.checksum)', 0, 'repaired');
                    """)
        }
    }

    private static func differences(
        _ table: String, _ entry: HistoryEntry, _ file: Migration?
    ) -> [HistoryDrift] {
        guard let file else {
            return [
                HistoryDrift(
                    version: entry.version, title: entry.title, change: .extra,
                    repair: """
                        -- Use the files of the release that has it. When nothing of it is left:
                        -- delete from \(table) where version = \(entry.version);
                        """)
            ]
        }
        var drift: [HistoryDrift] = []
        if entry.title != file.title {
            drift.append(
                HistoryDrift(
                    version: entry.version, title: file.title,
                    change: .renamed(from: entry.title, to: file.title),
                    repair: "update \(table) set title = '\(file.title)' where version = "
                        + "\(file.version);"))
        }
        if entry.checksum != file.checksum {
            drift.append(
                HistoryDrift(
                    version: entry.version, title: file.title,
                    change: .changedChecksum(from: entry.checksum, to: file.checksum),
                    repair: """
                        -- Only when the schema does not differ; else restore the file.
                        update \(table) set checksum = '\(file.checksum)', origin = 'repaired'
                        where version = \(file.version);
                        """))
        }
        return drift
    }
}
