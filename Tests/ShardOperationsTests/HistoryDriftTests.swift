import Postgres
import Testing

@testable import ShardOperations

@Suite struct HistoryDriftTests {
    private static let files = [1, 2, 3, 1_001, 1_002].map {
        Migration(
            version: $0, title: "title\($0)", checksum: "sum\($0)",
            up: MigrationScript(file: "title\($0).up.sql", statements: []))
    }

    private static func entry(_ version: Int, at second: Int64? = nil) -> HistoryEntry {
        HistoryEntry(
            version: version, title: "title\(version)", checksum: "sum\(version)",
            appliedAt: Timestamp(microsecondsSince1970: (second ?? Int64(version)) * 1_000_000))
    }

    private func drift(
        _ found: [HistoryEntry], leftovers: [Int: Int] = [:]
    ) -> [HistoryDrift] {
        HistoryDrift.differences(
            kind: .shard, found: found, leftovers: leftovers, expected: Self.files)
    }

    @Test func `what is pending is no drift, in either numbering`() {
        #expect(drift([]) == [])
        #expect(drift([Self.entry(1), Self.entry(2)]) == [])
        #expect(drift([Self.entry(1), Self.entry(1_001)]) == [])
    }

    @Test func `a version that was passed over is missing, and its repair names it`() {
        let found = drift([Self.entry(1), Self.entry(3), Self.entry(1_002)])

        #expect(found.map(\.version) == [2, 1_001])
        #expect(found.allSatisfy { $0.change == .missing })
        #expect(found[0].repair.contains("values (2, 'title2', 'sum2', 0, 'repaired')"))
    }

    @Test func `a version without a file, another title and another sum are told apart`() {
        var renamed = Self.entry(2)
        renamed.title = "other"
        var edited = Self.entry(3)
        edited.checksum = "other"

        let found = drift([Self.entry(1), renamed, edited, Self.entry(4)])

        #expect(
            found.map(\.change) == [
                .renamed(from: "other", to: "title2"),
                .changedChecksum(from: "other", to: "sum3"), .extra,
            ])
    }

    @Test func `a version that came after a higher one is late`() {
        let found = drift([Self.entry(1), Self.entry(2, at: 9), Self.entry(3, at: 5)])

        #expect(found.map(\.version) == [2])
        #expect(found.map(\.change) == [.late])
    }

    @Test func `steps are left over when their file is complete or gone, not when it waits`() {
        let found = drift([Self.entry(1), Self.entry(2)], leftovers: [2: 3, 3: 1, 77: 1])

        #expect(found.map(\.version) == [2, 77])
        #expect(found.map(\.change) == [.leftoverSteps(3), .leftoverSteps(1)])
        #expect(found[0].repair == "delete from shard.migration_steps where version = 2;")
    }
}
