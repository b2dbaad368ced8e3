import CoreMetrics
import Foundation
import GRDB
import Logging
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// A folder that goes away with the test.
final class TemporaryFolder: Sendable {
    let path = FileManager.default.temporaryDirectory
        .appending(path: "spool-\(UUID().uuidString)").path()

    deinit {
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            print("cannot remove \(path): \(error)")
        }
    }
}

extension Spool {
    static func open(
        _ folder: TemporaryFolder, limits: SpoolLimits = SpoolLimits()
    ) async throws(SpoolError) -> Spool {
        try await open(
            folder.path, limits: limits, factory: NOOPMetricsHandler.instance,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Hands a message over and waits until it is durable; nil, or why it is not.
    func add(_ message: Message) async -> OverflowError? {
        await withCheckedContinuation { continuation in
            take(message) { outcome in
                switch outcome {
                case .success: continuation.resume(returning: nil)
                case .failure(let error): continuation.resume(returning: error)
                }
            }
        }
    }

    /// Runs `body` while the spool writes, then stops it.
    func whileRunning<Value: Sendable>(
        _ body: () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.run() }
            let value = try await body()
            stop()
            try await group.waitForAll()
            return value
        }
    }

    func texts(of room: RoomID) async throws -> [String] {
        try await oldest(of: room).map(\.message.text)
    }
}

@Suite struct SpoolTests {
    private let folder = TemporaryFolder()

    private func message(
        _ number: Int, _ room: RoomID = .lobby, author: String = "ada", text: String? = nil
    ) -> Message {
        .numbered(number, room: room, author: author, text: text ?? "text \(number)")
    }

    @Test func `messages are there after a restart, each room in its order`() async throws {
        let other = RoomID("other")
        let spool = try await Spool.open(folder)
        try await spool.whileRunning {
            for number in 1...5 {
                #expect(await spool.add(message(number)) == nil)
                #expect(await spool.add(message(10 + number, other)) == nil)
            }
        }
        let load = spool.load
        let again = try await reopened(spool)

        #expect(again.load == load)
        #expect(load.rows == 10)
        #expect(again.holds(.lobby) && again.holds(other))
        #expect(!again.holds(RoomID("empty")))
        #expect(try await again.texts(of: .lobby) == (1...5).map { "text \($0)" })
        let kept = try await again.oldest(of: other)
        #expect(kept.first?.message == message(11, other))
    }

    @Test func `a repeated message is safe already, another one with its id is a conflict`()
        async throws
    {
        let spool = try await Spool.open(folder)
        try await spool.whileRunning {
            async let first = spool.add(message(1))
            async let second = spool.add(message(1))
            #expect(await first == nil)
            #expect(await second == nil)
            #expect(await spool.add(message(1, text: "other")) == .conflict)
            #expect(await spool.add(message(1, author: "bo")) == .conflict)
            #expect(await spool.add(message(1, RoomID("other"))) == nil)
        }

        #expect(try await spool.texts(of: .lobby) == ["text 1"])
        #expect(spool.load.rows == 2)
    }

    @Test func `a full spool refuses at once, and takes again when there is room`() async throws {
        var limits = SpoolLimits()
        limits.rows = 3
        let spool = try await Spool.open(folder, limits: limits)
        try await spool.whileRunning {
            for number in 1...3 { #expect(await spool.add(message(number)) == nil) }
            #expect(await spool.add(message(4)) == .full)

            try await spool.drained(try await spool.oldest(of: .lobby))

            #expect(!spool.holds(.lobby))
            #expect(await spool.add(message(4)) == nil)
        }
    }

    @Test func `a spool is bounded by bytes, on the disk and on the way to it`() async throws {
        var limits = SpoolLimits()
        limits.bytes = 1_000
        let spool = try await Spool.open(folder, limits: limits)
        let large = String(repeating: "x", count: 700)
        spool.take(message(1, text: large)) { _ in }

        let refusal = await spool.add(message(2, text: large))

        #expect(refusal == .full)
        #expect(spool.holds(.lobby), "what waits for the disk counts")
    }

    @Test(.enabled(if: getuid() == 0, "only root can make a disk"))
    func `a full disk refuses, and harms nothing that is kept`() async throws {
        let disk = try TemporaryDisk(megabytes: 2)
        let spool = try await Spool.open(
            disk.folder.appending(path: "spool").path(), factory: NOOPMetricsHandler.instance,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await spool.whileRunning {
            for number in 1...20 { #expect(await spool.add(message(number)) == nil) }
            try disk.fill()
            var refusal: OverflowError?
            var number = 20
            while refusal == nil {
                number += 1
                refusal = await spool.add(message(number))
            }
            guard case .unusable = refusal else {
                Issue.record("\(String(describing: refusal))")
                return
            }
            #expect(spool.load.rows == number - 1)

            try disk.free()

            #expect(await spool.add(message(number)) == nil)
            #expect(spool.load.rows == number)
        }
    }

    @Test func `a second one cannot have the same folder`() async throws {
        let spool = try await Spool.open(folder)

        let failure = await #expect(throws: SpoolError.self) { try await Spool.open(folder) }

        #expect(failure == .inUse(folder: folder.path, processID: getpid()))
        #expect(spool.load.rows == 0)
    }

    @Test func `every commit is on the disk before it is answered`() async throws {
        let disk = SpoolDisk(try SpoolFolder(taking: folder.path))

        let synchronous = try await disk.use(onDamage: { _ in }) { file throws(SpoolError) in
            try file.synchronous
        }

        #expect(synchronous == 2, "FULL")
    }

    @Test func `messages of another cluster are refused, an empty spool takes a new one`()
        async throws
    {
        let (one, other) = (UUID(), UUID())
        let spool = try await Spool.open(folder)
        try await spool.bind(to: UUID())
        try await spool.bind(to: one)
        try await spool.whileRunning { _ = await spool.add(message(1)) }
        try await spool.bind(to: one)

        await #expect(throws: SpoolError.foreign(folder: folder.path)) {
            try await spool.bind(to: other)
        }
    }

    @Test(arguments: ["flipped", "cut off", "foreign"])
    func `a damaged file is set aside as it is, and what can be read goes on`(
        damage: String
    ) async throws {
        try await fillAndClose()
        let file = URL(filePath: SpoolFolder.file(in: folder.path))
        var bytes = try Data(contentsOf: file)
        try #require(bytes.count > 20_000, "all is in the file, nothing in its log")
        switch damage {
        case "flipped": for index in 20_480..<28_672 { bytes[index] ^= 0xff }
        case "cut off": bytes = bytes.prefix(10_000)
        default: bytes = Data("this is no database, whatever its name says".utf8)
        }
        try bytes.write(to: file)

        let fresh = try await Spool.open(folder)
        try await fresh.whileRunning { #expect(await fresh.add(message(999)) == nil) }

        let places = try SpoolFolder.setAside(in: folder.path)
        try #require(places.count == 1)
        let kept = URL(filePath: "\(places[0])/spool.sqlite")
        #expect(try Data(contentsOf: kept) == bytes)
        let numbers = try await fresh.oldest(of: .lobby).map(\.message.id)
        let all = (1...200).map { message($0).id } + [message(999).id]
        #expect(numbers == all.filter(Set(numbers).contains), "in order")
        #expect(fresh.load.rows >= (damage == "flipped" ? 100 : 1))
        #expect(fresh.holds(.lobby))
    }

    private func fillAndClose() async throws {
        let spool = try await Spool.open(folder)
        try await spool.whileRunning {
            for number in 1...200 {
                _ = await spool.add(message(number, text: String(repeating: "x", count: 100)))
            }
        }
        try other { try $0.execute(sql: "pragma wal_checkpoint(truncate)") }
    }

    /// What a server leaves that is killed after `count` commits: a file and its log.
    private func crash(after count: Int) async throws -> TemporaryFolder {
        let spool = try await Spool.open(folder)
        let crashed = TemporaryFolder()
        try await spool.whileRunning {
            for number in 1...count { _ = await spool.add(message(number)) }
            try FileManager.default.copyItem(atPath: folder.path, toPath: crashed.path)
        }
        return crashed
    }

    @Test(arguments: [0.0, 0.2, 0.5, 0.9])
    func `a log with a wrong byte is kept as it is, and what stands before it is used`(
        share: Double
    ) async throws {
        let crashed = try await crash(after: 50)
        let log = URL(filePath: SpoolFolder.file(in: crashed.path) + "-wal")
        var bytes = try Data(contentsOf: log)
        bytes[Int(Double(bytes.count) * share) + 20] ^= 1
        try bytes.write(to: log)

        let spool = try await Spool.open(crashed)

        let places = try SpoolFolder.setAside(in: crashed.path)
        try #require(places.count == 1)
        #expect(try Data(contentsOf: URL(filePath: "\(places[0])/spool.sqlite-wal")) == bytes)
        let texts = try await spool.texts(of: .lobby)
        #expect(texts == (0..<texts.count).map { "text \($0 + 1)" })
        #expect(texts.count < 50 && spool.load.rows == texts.count)
    }

    @Test func `a commit that a crash has torn is no damage`() async throws {
        let crashed = try await crash(after: 50)
        let log = URL(filePath: SpoolFolder.file(in: crashed.path) + "-wal")
        let bytes = try Data(contentsOf: log)
        try bytes.dropLast(100).write(to: log)

        let spool = try await Spool.open(crashed)

        #expect(try SpoolFolder.setAside(in: crashed.path).isEmpty)
        #expect(spool.load.rows == 49)
    }

    @Test func `a log whose file is gone is kept`() async throws {
        let crashed = try await crash(after: 50)
        try FileManager.default.removeItem(atPath: SpoolFolder.file(in: crashed.path))

        let spool = try await Spool.open(crashed)

        let places = try SpoolFolder.setAside(in: crashed.path)
        try #require(places.count == 1)
        let kept = try Data(contentsOf: URL(filePath: "\(places[0])/spool.sqlite-wal"))
        #expect(kept.count > 4_096)
        #expect(spool.load.rows == 0)
    }

    /// A connection to the file behind the back of the spool.
    private func other(_ body: (Database) throws -> Void) throws {
        let queue = try DatabaseQueue(path: SpoolFolder.file(in: folder.path))
        try queue.inDatabase(body)
    }

    @Test func `a file that is damaged while it is used is replaced, and its numbers mean nothing`()
        async throws
    {
        let spool = try await Spool.open(folder)
        let cluster = UUID()
        try await spool.bind(to: cluster)
        try await spool.whileRunning {
            #expect(await spool.add(message(1)) == nil)
            let old = try await spool.oldest(of: .lobby)
            try damage()
            #expect(await spool.add(message(2)) == nil, "a new file is begun for it")
            try await spool.drained(old)
            try await spool.refused([(old[0], "late")])

            #expect(try await spool.texts(of: .lobby) == ["text 2"], "the table is unreadable")
            #expect(spool.load.rows == 1)
            #expect(spool.holds(.lobby))
        }
        #expect(try SpoolFolder.setAside(in: folder.path).count == 1)
        await #expect(throws: SpoolError.foreign(folder: folder.path)) {
            try await spool.bind(to: UUID())
        }
    }

    /// Makes the schema point at a page that is not there.
    private func damage() throws {
        try other { database in
            try database.execute(
                sql: """
                    pragma writable_schema = on;
                    update sqlite_schema set rootpage = 9999 where name = 'waiting';
                    pragma schema_version = 1000;
                    """)
        }
    }

    /// As after the end of the process: only what is in the files is left.
    private func reopened(_ spool: Spool) async throws -> Spool {
        let copy = TemporaryFolder()
        try FileManager.default.copyItem(atPath: folder.path, toPath: copy.path)
        return try await Spool.open(
            copy.path, factory: NOOPMetricsHandler.instance,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
}
