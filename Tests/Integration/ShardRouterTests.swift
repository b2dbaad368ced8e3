import FoundationEssentials
import Logging
import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

@Suite struct ShardRouterIntegrationTests {
    private let patience = Duration.seconds(20)

    /// Runs `body` with a router that runs, and stops it afterwards.
    private func withRouter(
        _ cluster: TestCluster, file: String? = nil, limits: RouterLimits = RouterLimits(),
        _ body: @Sendable (ShardRouter) async throws -> Void
    ) async throws {
        let router = try await ShardRouter.start(
            RouterConfiguration(
                catalog: try cluster.routerSettings(), topologyFile: file, limits: limits),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await router.run() }
            try await body(router)
            group.cancelAll()
        }
    }

    private func message(_ room: String, _ text: String, id: UUID = UUID()) -> Message {
        Message(
            id: id, room: RoomID(room), author: "ada", sentAt: .now, receivedAt: .now, text: text)
    }

    @Test func `each room's messages are on its shard alone, numbered without holes`()
        async throws
    {
        let cluster = try await TestCluster.start(shards: 3)

        try await withRouter(cluster) { router in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<600 {
                    group.addTask {
                        _ = try await router.store(
                            message("room-\(number % 30)", "text \(number)"), patience: patience)
                    }
                }
                try await group.waitForAll()
            }
            for number in 0..<30 {
                let room = RoomID("room-\(number)")
                let page = try await router.history(of: room, limit: 500, patience: patience)
                #expect(page.messages.map(\.seq) == Array(1...20))
                #expect(page.isComplete)
                #expect(page.head == 20)
                let owner = try #require(router.route(room).shard).number
                for shard in 1...3 {
                    let rows = try await cluster.rows(
                        shard: shard,
                        "select count(*) from messages where room_id = 'room-\(number)'")
                    #expect(try rows[0].get(0, as: Int.self) == (shard == owner ? 20 : 0))
                }
            }
        }
    }

    @Test func `a repeated id keeps its place and other content is a conflict`() async throws {
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            let first = message("lobby", "hello")
            let receipt = try await router.store(first, patience: patience)
            let other = try await router.store(message("lobby", "more"), patience: patience)
            let again = try await router.store(first, patience: patience)

            #expect(receipt.seq == 1)
            #expect(other.seq == 2)
            #expect(again.seq == 1)
            #expect(again.isDuplicate)
            await #expect(throws: WriteError.conflict(id: first.id)) {
                try await router.store(
                    message("lobby", "changed", id: first.id), patience: patience)
            }
        }
    }

    @Test func `two routers storing the same ids at once leave no hole`() async throws {
        let cluster = try await TestCluster.start(shards: 2)

        try await withRouter(cluster) { one in
            try await withRouter(cluster) { other in
                let messages = (0..<200).map { message("room-\($0 % 5)", "text \($0)") }
                try await withThrowingTaskGroup(of: (UUID, Int64).self) { group in
                    for message in messages {
                        for router in [one, other] {
                            group.addTask {
                                let receipt = try await router.store(message, patience: patience)
                                return (message.id, receipt.seq)
                            }
                        }
                    }
                    var seqs: [UUID: Set<Int64>] = [:]
                    for try await (id, seq) in group { seqs[id, default: []].insert(seq) }
                    #expect(seqs.count == 200)
                    #expect(seqs.values.allSatisfy { $0.count == 1 })
                }
                for number in 0..<5 {
                    let page = try await one.history(
                        of: RoomID("room-\(number)"), limit: 500, patience: patience)
                    #expect(page.messages.map(\.seq) == Array(1...40))
                }
            }
        }
    }

    @Test func `a stale map is corrected by the shard without an error`() async throws {
        let cluster = try await TestCluster.start(shards: 2)

        try await withRouter(cluster) { router in
            let room = RoomID("wanderer")
            let (slot, owner) = router.route(room)
            let source = try #require(owner).number
            let target = 3 - source
            try await cluster.handOver(slot, from: source, to: target, epoch: 7)

            let receipt = try await router.store(message("wanderer", "hi"), patience: patience)
            let page = try await router.history(of: room, limit: 10, patience: patience)

            #expect(receipt.shard == ShardID(target))
            #expect(page.messages.count == 1)
            #expect(router.route(room).shard == ShardID(target))
        }
    }

    @Test func `a fenced slot waits, in order, and the caller notices nothing`() async throws {
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            let slot = router.route(RoomID("fenced")).slot
            _ = try await cluster.rows(
                shard: 1, "update shard.slots set state = 'fenced' where slot = \(slot)")
            try await withThrowingTaskGroup(of: (Int, Int64).self) { group in
                let started = AsyncStream<Void>.makeStream()
                for number in 1...5 {
                    group.addTask {
                        started.continuation.yield()
                        let receipt = try await router.store(
                            message("fenced", "\(number)"), patience: patience)
                        return (number, receipt.seq)
                    }
                }
                var count = 0
                for await _ in started.stream {
                    count += 1
                    if count == 5 { break }
                }
                _ = try await cluster.rows(
                    shard: 1, "update shard.slots set state = 'active' where slot = \(slot)")
                let seqs = try await group.reduce(into: []) { $0.append($1.1) }
                #expect(seqs.sorted() == [1, 2, 3, 4, 5])
            }
        }
    }

    @Test func `a message that the shard cannot take fails alone`() async throws {
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            let huge = String(repeating: "x", count: 70_000)
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<50 {
                    group.addTask {
                        do throws(WriteError) {
                            _ = try await router.store(
                                message("mixed", number == 25 ? huge : "ok"), patience: patience)
                            return true
                        } catch {
                            guard case .refused = error else { throw error }
                            return false
                        }
                    }
                }
                let stored = try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
                #expect(stored == 49)
            }
            let page = try await router.history(of: RoomID("mixed"), limit: 100, patience: patience)
            #expect(page.messages.map(\.seq) == Array(1...49))
        }
    }

    @Test func `a transaction runs on the owner and rolls back what throws`() async throws {
        struct Enough: Error {}
        let cluster = try await TestCluster.start(shards: 2)

        try await withRouter(cluster) { router in
            let room = RoomID("deal")
            _ = try await router.store(message("deal", "one"), patience: patience)

            let count = try await router.withTransaction(for: room, patience: patience) {
                try await $0.query("select count(*) from messages where room_id = $1", ["deal"])[0]
                    .get(0, as: Int.self)
            }
            await #expect(throws: Enough.self) {
                try await router.withTransaction(for: room, patience: patience) { _ in
                    throw Enough()
                }
            }
            let read = try await router.read(for: room, patience: patience) {
                try await $0.query("select head from rooms where room_id = $1", ["deal"])[0]
                    .get(0, as: Int64.self)
            }
            let all = await router.forEachShard(patience: patience) { _, shard in
                try await shard.query("select count(*) from messages")[0].get(0, as: Int.self)
            }

            #expect(count == 1)
            #expect(read == 1)
            #expect(try all.reduce(0) { try $0 + $1.outcome.get() } == 1)
        }
    }

    @Test func `the router's role cannot change slots, schema or stored messages`() async throws {
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            for sql in [
                "update shard.slots set state = 'none'", "delete from messages",
                "insert into rooms values ('x', 1)", "create table shard.t (n int4)",
                "update shard.identity set shard_id = 9",
            ] {
                let failure = await #expect(throws: PostgresError.self) {
                    try await router.withTransaction(for: RoomID("r"), patience: patience) {
                        _ = try await $0.query(sql)
                    }
                }
                #expect(failure?.sqlState == "42501", "\(sql)")
            }
        }
    }

    @Test func `a router starts from its file while the catalog is away`() async throws {
        let cluster = try await TestCluster.start(shards: 1)
        let file = FileManager.default.temporaryDirectory
            .appending(path: "topology-\(UUID().uuidString)/last.json").path()
        try await withRouter(cluster, file: file) { _ in }

        cluster.catalog.kill()

        try await withRouter(cluster, file: file) { router in
            let receipt = try await router.store(message("lobby", "hi"), patience: patience)
            #expect(receipt.seq == 1)
        }
        await #expect(throws: RouterStartError.self) { try await withRouter(cluster) { _ in } }
    }

    @Test func `a wrong database behind an endpoint stops the start`() async throws {
        let cluster = try await TestCluster.start(shards: 2)
        _ = try await cluster.rows(shard: 2, "update shard.identity set shard_id = 9")

        let failure = await #expect(throws: RouterStartError.self) {
            try await withRouter(cluster) { _ in }
        }

        #expect(String(describing: failure).contains("shard-2"))
    }

    @Test func `messages survive a shard that is killed and started again`() async throws {
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            _ = try await router.store(message("lobby", "before"), patience: patience)
            cluster.servers[0].kill()
            try await withThrowingTaskGroup(of: Int64.self) { group in
                for number in 0..<20 {
                    group.addTask {
                        try await router.store(message("lobby", "\(number)"), patience: patience)
                            .seq
                    }
                }
                try cluster.servers[0].start()
                let seqs = try await group.reduce(into: []) { $0.append($1) }
                #expect(seqs.sorted() == Array(2...21))
            }
        }
    }

    @Test func `patience that ends while a message is on its way leaves an unknown outcome`()
        async throws
    {
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            let blocker = try await cluster.operatorConnection(shard: 1)
            defer { blocker.close() }
            try await blocker.script(
                "begin; lock table public.messages in access exclusive mode",
                deadline: .now + patience)
            let message = message("lobby", "late")

            let failure = await #expect(throws: WriteError.self) {
                try await router.store(message, patience: .milliseconds(300))
            }
            try await blocker.script("rollback", deadline: .now + patience)
            let receipt = try await router.store(message, patience: patience)

            guard case .unknownOutcome = failure else {
                Issue.record("\(String(describing: failure))")
                return
            }
            #expect(receipt.seq == 1)
            #expect(receipt.isDuplicate)
        }
    }

    @Test func `a transaction whose connection dies runs its body once`() async throws {
        struct Enough: Error {}
        let cluster = try await TestCluster.start(shards: 1)

        try await withRouter(cluster) { router in
            let runs = Mutex(0)

            await #expect(throws: Enough.self) {
                try await router.withTransaction(for: RoomID("deal"), patience: patience) {
                    runs.withLock { $0 += 1 }
                    let row = try await $0.query("select pg_backend_pid()")[0]
                    let pid = try row.get(0, as: Int32.self)
                    _ = try await cluster.rows(
                        shard: 1, "select pg_terminate_backend(\(pid), 10000)")
                    throw Enough()
                }
            }

            #expect(runs.withLock { $0 } == 1)
        }
    }

    @Test func `a caller whose patience has ended does not wait for a connection`() async throws {
        let cluster = try await TestCluster.start(shards: 1)
        var limits = RouterLimits()
        limits.pool.connections = 1

        try await withRouter(cluster, limits: limits) { router in
            let room = RoomID("busy")
            try await router.read(for: room, patience: patience) { _ in
                await withTaskGroup(of: Bool.self) { group in
                    for _ in 0..<200 {
                        group.addTask {
                            do {
                                try await router.read(for: room, patience: .zero) { _ in }
                                return false
                            } catch {
                                return error is TransactionError
                            }
                        }
                    }
                    for await isRefused in group { #expect(isRefused) }
                }
            }
        }
    }

    @Test func `a change in the catalog is heard`() async throws {
        let cluster = try await TestCluster.start(shards: 2)

        try await withRouter(cluster) { router in
            let connection = try await cluster.catalogConnection()
            defer { connection.close() }
            try await connection.script(
                "insert into catalog.topology values (2, 'a test')", deadline: .now + patience)

            let limit = ContinuousClock.now + patience
            while router.topology.epoch != Epoch(2), ContinuousClock.now < limit {
                try await Task.sleep(for: .milliseconds(5))
            }

            #expect(router.topology.epoch == Epoch(2))
        }
    }
}
