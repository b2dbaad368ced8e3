import Foundation
import ShardOperations
import Testing

@Suite struct MigrationFilesTests {
    private let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory
            .appending(path: "migrations-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for name in ["0001_first", "0002_second", "0003_third"] {
            try write("\(name).up.sql", "create table \(name.dropFirst(5)) (n int4);\n")
            try write("\(name).down.sql", "drop table \(name.dropFirst(5));\n")
        }
        try MigrationFiles(folder: folder).writeSums()
    }

    private func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: folder.appending(path: name))
    }

    private func refusal() -> String {
        do {
            _ = try MigrationFiles(folder: folder).load()
            return "none"
        } catch {
            return "\(error)"
        }
    }

    @Test func `recorded files are loaded in their order`() throws {
        defer { remove() }

        let migrations = try MigrationFiles(folder: folder).load()

        #expect(migrations.map(\.version) == [1, 2, 3])
        #expect(migrations.map(\.title) == ["first", "second", "third"])
        #expect(Set(migrations.map(\.checksum)).count == 3)
    }

    @Test func `line ends do not count`() throws {
        defer { remove() }
        try write("0002_second.up.sql", "create table second (n int4);\r\n")

        #expect(refusal() == "none")
    }

    @Test func `an edited file is named`() throws {
        defer { remove() }
        try write("0002_second.up.sql", "create table second (n int8);\n")

        #expect(refusal().contains("0002_second.up.sql was edited"))
    }

    @Test func `a missing file is named`() throws {
        defer { remove() }
        try FileManager.default.removeItem(at: folder.appending(path: "0002_second.down.sql"))

        #expect(refusal().contains("0002_second.down.sql is missing or was renamed"))
    }

    @Test func `a late file with a lower number is named`() throws {
        defer { remove() }
        try write("0002_alpha.up.sql", "select 1;\n")

        #expect(refusal().contains("0002_alpha.up.sql was added below"))
    }

    @Test func `a file that is not recorded is named`() throws {
        defer { remove() }
        try write("0004_new.up.sql", "select 1;\n")

        #expect(refusal().contains("0004_new.up.sql is not recorded"))
    }

    @Test func `a new pair is recorded`() throws {
        defer { remove() }

        let names = try MigrationFiles(folder: folder).create(title: "add_reactions")

        #expect(names == ["1001_add_reactions.up.sql", "1001_add_reactions.down.sql"])
        #expect(try MigrationFiles(folder: folder).load().last?.version == 1001)
    }

    @Test func `a new release brings lower files than those of the application`() throws {
        defer { remove() }
        let files = MigrationFiles(folder: folder)
        _ = try files.create(title: "add_reactions")
        let before = try #require(try files.load().last)

        let names = try files.create(title: "fourth", in: .library)

        #expect(names == ["0004_fourth.up.sql", "0004_fourth.down.sql"])
        #expect(try files.load().map(\.version) == [1, 2, 3, 4, 1001])
        #expect(try files.load().last == before)
    }

    @Test(arguments: [
        ("0004_o'brien.up.sql", "is not called NNNN_title"),
        ("0004_a b.up.sql", "is not called NNNN_title"),
        ("20261126101112_x.up.sql", "a number of at most ten digits"),
        ("0004_x.sql", "is not called NNNN_title"), ("04_x.up.sql", "is not called NNNN_title"),
        ("00004_x.up.sql", "is not called NNNN_title"), ("0000_x.up.sql", "is not called"),
        ("0004_x.down.sql", "0004_x.down.sql is not recorded"),
    ])
    func `a file with a wrong name is refused`(name: String, reason: String) throws {
        defer { remove() }
        try write(name, "select 1;\n")

        #expect(refusal().contains(reason), "\(refusal())")
    }

    @Test func `what editors leave in the folder is no migration`() throws {
        defer { remove() }
        try write(".#0004_x.up.sql", "select 1;\n")

        #expect(refusal() == "none")
    }

    @Test func `a file in another encoding is named, and a byte order mark does not count`() throws
    {
        defer { remove() }
        let name = "0004_x.up.sql"
        try Data([0x2D, 0x2D, 0x20, 0xE4, 0x0A]).write(to: folder.appending(path: name))
        #expect(refusal().contains("0004_x.up.sql is not in UTF-8"))

        try write(name, "\u{FEFF}select 1;\n")
        try MigrationFiles(folder: folder).writeSums()

        #expect(
            try MigrationFiles(folder: folder).load().last?.up.statements.map(\.text)
                == ["select 1"])
    }

    @Test func `a way back without a way there is refused`() throws {
        defer { remove() }
        try write("0004_x.down.sql", "select 1;\n")
        try MigrationFiles(folder: folder).writeSums()

        #expect(refusal().contains("0004_x.down.sql has no 0004_x.up.sql"))
    }

    @Test func `what cannot be cut into statements is refused with its line`() throws {
        defer { remove() }
        try write("0004_x.up.sql", "select 1;\nselect 'x;\n")
        try MigrationFiles(folder: folder).writeSums()

        #expect(refusal().contains("0004_x.up.sql, line 2: a quote is never closed"))
    }

    @Test func `the repository's own files are recorded`() throws {
        defer { remove() }
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        for kind in ["catalog", "shard"] {
            let files = MigrationFiles(folder: root.appending(path: "migrations/\(kind)"))
            #expect(try !files.load().isEmpty)
        }
    }

    private func remove() {
        do {
            try FileManager.default.removeItem(at: folder)
        } catch {
            Issue.record("\(error)")
        }
    }
}
