import Crypto
public import Foundation

/// One step of a schema.
public struct Migration: Sendable, Equatable {
    public var version: Int
    public var title: String
    public var sql: String
    /// The chained sum of this file and all before it.
    public var checksum: String
    public var directives: MigrationDirectives

    public init(
        version: Int, title: String, sql: String, checksum: String,
        directives: MigrationDirectives = MigrationDirectives()
    ) {
        self.version = version
        self.title = title
        self.sql = sql
        self.checksum = checksum
        self.directives = directives
    }
}

/// The files of one folder of migrations: `NNNN_title.up.sql`, `NNNN_title.down.sql` and
/// `migrations.sum`.
///
/// The sum file names every file with a SHA-256 over the sum before it, its name and its text with
/// LF line ends: an edited, missing, renamed or smuggled-in file is named before anything runs.
public struct MigrationFiles: Sendable {
    public let folder: URL

    public init(folder: URL) {
        self.folder = folder
    }

    /// The steps in order, after the check against `migrations.sum`.
    public func load() throws -> [Migration] {
        let sums = try currentSums()
        try check(sums)
        var migrations: [Migration] = []
        for (name, sum) in sums where name.hasSuffix(".up.sql") {
            let version = try self.version(of: name)
            guard migrations.last.map({ $0.version < version }) ?? true else {
                throw refused("two files have version \(version): \(name)")
            }
            let sql = try text(of: name)
            let directives: MigrationDirectives
            do throws(MigrationDirectives.Problem) {
                directives = try MigrationDirectives(sql: sql)
            } catch {
                throw refused("\(name): \(error)")
            }
            migrations.append(
                Migration(
                    version: version, title: String(name.dropFirst(5).dropLast(7)), sql: sql,
                    checksum: sum, directives: directives))
        }
        return migrations
    }

    /// Writes `migrations.sum` anew, after a file was added.
    public func writeSums() throws {
        let lines = try currentSums().map { "\($0.sum)  \($0.name)\n" }.joined()
        try Data(lines.utf8).write(to: sumFile, options: .atomic)
    }

    /// Makes an empty pair of files with the next version, and adds it to the sum.
    ///
    /// - Returns: the names of the new files.
    public func create(title: String) throws -> [String] {
        let isPlain = title.utf8.allSatisfy {
            (97...122).contains($0) || (48...57).contains($0) || $0 == 95
        }
        guard !title.isEmpty, isPlain else {
            throw OperationError.refused(
                "a title has lower-case letters, digits and underscores: \(title)",
                next: "shardctl migrate new add_reactions")
        }
        try check(try currentSums())
        let last = try names().compactMap { Int($0.prefix(4)) }.max() ?? 0
        let digits = String(last + 1)
        let stem = String(repeating: "0", count: max(0, 4 - digits.count)) + digits + "_" + title
        for direction in ["up", "down"] {
            try Data("-- \(title)\n".utf8).write(
                to: folder.appending(path: "\(stem).\(direction).sql"), options: .withoutOverwriting
            )
        }
        try writeSums()
        return ["\(stem).up.sql", "\(stem).down.sql"]
    }

    private var sumFile: URL { folder.appending(path: "migrations.sum") }

    private func check(_ sums: [(name: String, sum: String)]) throws {
        guard FileManager.default.fileExists(atPath: sumFile.path()) else {
            throw refused("there is no migrations.sum")
        }
        let recorded = try String(contentsOf: sumFile, encoding: .utf8).split(separator: "\n")
            .map { $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init) }
        for (index, line) in recorded.enumerated() {
            guard line.count == 2 else { throw refused("line \(index + 1) is damaged") }
            guard sums.contains(where: { $0.name == line[1] }) else {
                throw refused("\(line[1]) is missing or was renamed")
            }
            guard index < sums.count, sums[index].name == line[1] else {
                throw refused("\(sums[index].name) was added below the last recorded file")
            }
            guard sums[index].sum == line[0] else {
                throw refused("\(line[1]) was edited after it was recorded")
            }
        }
        guard sums.count == recorded.count else {
            throw refused("\(sums[recorded.count].name) is not recorded")
        }
    }

    private func currentSums() throws -> [(name: String, sum: String)] {
        var before = ""
        return try names().map { name in
            let text = try text(of: name)
            let digest = SHA256.hash(data: Data("\(before)\n\(name)\n\(text)".utf8))
            before = digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            return (name, before)
        }
    }

    private func names() throws -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: folder.path())
                .filter { $0.hasSuffix(".up.sql") || $0.hasSuffix(".down.sql") }
                .sorted { ($0.prefix(4), $1) < ($1.prefix(4), $0) }
        } catch {
            throw refused("there is no such folder, or it cannot be read")
        }
    }

    private func version(of name: String) throws -> Int {
        guard let version = Int(name.prefix(4)), version > 0, name.dropFirst(4).first == "_" else {
            throw refused("\(name) is not called NNNN_title.up.sql")
        }
        return version
    }

    private func text(of name: String) throws -> String {
        try String(contentsOf: folder.appending(path: name), encoding: .utf8)
            .replacingOccurrences(of: "\r\n", with: "\n")
    }

    private func refused(_ what: String) -> OperationError {
        .refused(
            "migrations in \(folder.path()): \(what)",
            next: "restore the files; nothing was applied")
    }
}
