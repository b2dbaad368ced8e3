import FoundationEssentials
import Logging
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import chatd

@Suite struct RouterMessageStoreTests {
    private let patience = Duration.seconds(20)

    private func withStore(
        _ body: @Sendable (RouterMessageStore, TestCluster) async throws -> Void
    ) async throws {
        let cluster = try await TestCluster.start(shards: 2)
        let settings = try cluster.routerSettings()
        let router = try await ShardRouter.start(
            RouterConfiguration(catalog: settings, topologyFile: nil),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await router.run() }
            try await body(RouterMessageStore(router: router, catalog: settings), cluster)
            group.cancelAll()
        }
    }

    @Test func `the shards keep the promises of a store`() async throws {
        try await withStore { store, _ in
            try await MessageStoreContract(
                store: store, newRoom: { RoomID("contract-\(UUID().uuidString)") }
            ).check()
        }
    }

    @Test func `a restored message gets its old number when that is a hole`() async throws {
        try await withStore { store, cluster in
            for number in 1...4 {
                _ = try await store.store(.numbered(number), patience: patience)
            }
            for shard in 1...2 {
                let connection = try await cluster.operatorConnection(shard: shard)
                defer { connection.close() }
                try await connection.script(
                    "delete from public.messages where seq in (2, 3)",
                    deadline: .now + patience)
            }

            let seqs = try await [
                store.restore(.numbered(2), seq: 2, patience: patience).seq,
                store.restore(.numbered(3), seq: nil, patience: patience).seq,
                store.restore(.numbered(6), seq: 9, patience: patience).seq,
            ]

            #expect(seqs == [2, 5, 6])
            guard case .stored(let next) = try await store.store(.numbered(7), patience: patience)
            else {
                Issue.record("the shard is there")
                return
            }
            #expect(next.seq == 7)
        }
    }

    @Test func `servers that start together draw one key`() async throws {
        try await withStore { store, cluster in
            let source = ReceiptKeySource.catalog(store.catalog)
            let keys = try await withThrowingTaskGroup { group in
                for _ in 0..<4 {
                    group.addTask { try await source.keys(deadline: .now + .seconds(20)) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }

            #expect(keys.allSatisfy { $0 == keys[0] })
            #expect(keys[0].count == 1)

            let catalog = try await cluster.catalogConnection()
            defer { catalog.close() }
            try await catalog.script(
                "update catalog.receipt_keys set place = 2", deadline: .now + patience)
            let exchanged = try await source.keys(deadline: .now + .seconds(20))
            #expect(exchanged.count == 2)
            #expect(exchanged[1] == keys[0][0])
            #expect(exchanged[0] != keys[0][0])
            // As docs/architecture.md tells operators to do it.
            try await catalog.script(
                """
                update catalog.receipt_keys set key = (select key from catalog.receipt_keys other
                    where other.place = 3 - receipt_keys.place)
                """, deadline: .now + patience)
            let swapped = try await source.keys(deadline: .now + .seconds(20))
            #expect(swapped == exchanged.reversed())
        }
    }
}
