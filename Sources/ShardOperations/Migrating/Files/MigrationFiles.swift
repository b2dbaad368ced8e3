import Crypto
public import Foundation

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
        let files = try files()
        try check(files)
        var migrations: [Migration] = []
        for file in files where file.isUp {
            if let last = migrations.last, last.version == file.version {
                throw refused("two files have version \(file.version): \(file.name)")
            }
            let down = files.first {
                !$0.isUp && $0.version == file.version && $0.title == file.title
            }
            migrations.append(
                Migration(
                    version: file.version, title: file.title, checksum: file.sum,
                    up: try MigrationScript(file: file.name, sql: file.text),
                    down: try down.map { try MigrationScript(file: $0.name, sql: $0.text) }))
        }
        if let orphan = files.first(where: { file in
            !file.isUp && !migrations.contains { $0.name == file.stem }
        }) {
            throw refused("\(orphan.name) has no \(orphan.stem).up.sql")
        }
        return migrations
    }

    /// Writes `migrations.sum` anew, after a file was added.
    public func writeSums() throws {
        let lines = try files().map { "\($0.sum)  \($0.name)\n" }.joined()
        try Data(lines.utf8).write(to: sumFile, options: .atomic)
    }

    /// Makes an empty pair of files with the next version of its series, and adds it to the sum.
    ///
    /// - Returns: the names of the new files.
    public func create(title: String, in series: MigrationSeries = .application) throws -> [String]
    {
        let isPlain = title.utf8.allSatisfy {
            (97...122).contains($0) || (48...57).contains($0) || $0 == 95
        }
        guard (1...80).contains(title.utf8.count), isPlain else {
            throw OperationError.refused(
                "a title has 1 to 80 lower-case letters, digits and underscores: \(title)",
                next: "shardctl migrate new add_reactions")
        }
        let files = try files()
        try check(files)
        let last = files.map(\.version).filter { MigrationSeries(of: $0) == series }.max()
        let version = last.map { $0 + 1 } ?? series.rawValue
        guard MigrationSeries(of: version) == series else {
            throw refused("the numbers below \(version) are used up")
        }
        let stem = Migration.name(version: version, title: title)
        for direction in ["up", "down"] {
            try Data("-- \(title)\n".utf8).write(
                to: folder.appending(path: "\(stem).\(direction).sql"), options: .withoutOverwriting
            )
        }
        try writeSums()
        return ["\(stem).up.sql", "\(stem).down.sql"]
    }

    private var sumFile: URL { folder.appending(path: "migrations.sum") }

    private func check(_ files: [File]) throws {
        guard FileManager.default.fileExists(atPath: sumFile.path()) else {
            throw refused("there is no migrations.sum", next: "shardctl migrate new --refresh")
        }
        let recorded = try String(contentsOf: sumFile, encoding: .utf8).split(separator: "\n")
            .map { $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init) }
        for (index, line) in recorded.enumerated() {
            guard line.count == 2 else {
                throw refused("line \(index + 1) of migrations.sum is damaged")
            }
            guard files.contains(where: { $0.name == line[1] }) else {
                throw refused("\(line[1]) is missing or was renamed")
            }
            guard index < files.count, files[index].name == line[1] else {
                throw refused(
                    "\(files[index].name) was added below \(line[1]), which is recorded already",
                    next: "give it a higher number, then: shardctl migrate new --refresh")
            }
            guard files[index].sum == line[0] else {
                throw refused("\(line[1]) was edited after it was recorded")
            }
        }
        guard files.count == recorded.count else {
            throw refused(
                "\(files[recorded.count].name) is not recorded",
                next: "shardctl migrate new --refresh")
        }
    }

    private func refused(
        _ what: String,
        next: String = "restore the file; or, if no database has it yet: "
            + "shardctl migrate new --refresh"
    ) -> OperationError {
        .refused("migrations in \(folder.path()): \(what); nothing was applied", next: next)
    }
}

extension MigrationFiles {
    /// One file as it is on the disk.
    private struct File {
        var name: String
        var version: Int
        var title: String
        var isUp: Bool
        /// With LF line ends.
        var text: String
        /// Chained over the files before it.
        var sum = ""

        var stem: String { Migration.name(version: version, title: title) }
    }

    /// In the order of their versions, `up` before `down`, each with its sum.
    private func files() throws -> [File] {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: folder.path())
        } catch {
            throw refused(
                "there is no such folder, or it cannot be read",
                next: "name the folder that holds shard/ and catalog/ with --migrations")
        }
        // Those that begin with a dot are editors' own.
        var files = try names.filter { $0.hasSuffix(".sql") && !$0.hasPrefix(".") }.map(file)
        files.sort {
            ($0.version, $0.title, $1.isUp ? 1 : 0) < ($1.version, $1.title, $0.isUp ? 1 : 0)
        }
        var before = ""
        for index in files.indices {
            let isFirst =
                index == 0
                || MigrationSeries(of: files[index].version)
                    != MigrationSeries(of: files[index - 1].version)
            if isFirst { before = "" }
            let digest = SHA256.hash(
                data: Data("\(before)\n\(files[index].name)\n\(files[index].text)".utf8))
            before = digest.hexadecimal
            files[index].sum = before
        }
        return files
    }

    private func file(_ name: String) throws -> File {
        let parts = name.split(separator: ".")
        let digits = name.prefix { ("0"..."9").contains($0) }
        guard parts.count == 3, ["up", "down"].contains(parts[1]), digits.count >= 4,
            let version = Int(digits), version > 0, version <= Int(Int32.max),
            name.utf8.allSatisfy(Self.isPlain), parts[0].count > digits.count + 1,
            Migration.name(version: version, title: String(parts[0].dropFirst(digits.count + 1)))
                == parts[0]
        else {
            throw refused(
                "\(name) is not called NNNN_title.up.sql or NNNN_title.down.sql, with a number of "
                    + "at most ten digits and a title of letters, digits, _ and -",
                next: "rename it, then: shardctl migrate new --refresh")
        }
        let text = try text(of: name)
        return File(
            name: name, version: version, title: String(parts[0].dropFirst(digits.count + 1)),
            isUp: parts[1] == "up", text: text)
    }
}

extension MigrationFiles {
    /// What stands in names of files stands in SQL, too.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// With LF line ends and without the mark that some editors put first.
    private func text(of name: String) throws -> String {
        let data = try Data(contentsOf: folder.appending(path: name))
        guard let text = String(validating: data, as: UTF8.self) else {
            throw refused(
                "\(name) is not in UTF-8",
                next: "convert it, such as by: iconv -f latin1 -t utf8")
        }
        let plain = text.hasPrefix("\u{FEFF}") ? String(text.dropFirst()) : text
        return plain.replacingOccurrences(of: "\r\n", with: "\n")
    }
}

extension Sequence<UInt8> {
    /// Two digits for each byte.
    var hexadecimal: String {
        map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
