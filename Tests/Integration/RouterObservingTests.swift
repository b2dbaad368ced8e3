import FoundationEssentials
import InMemoryTracing
import Logging
import MetricsTestKit
import Postgres
import ShardRouter
import TestKit
import Testing
import Tracing

@Suite struct RouterObservingTests {
    private let patience = Duration.seconds(20)

    private func message(_ room: String, _ text: String, id: UUID = UUID()) -> Message {
        Message(
            id: id, room: RoomID(room), author: "ada", sentAt: .now, receivedAt: .now, text: text)
    }

    private func withRouter(
        _ configuration: RouterConfiguration, _ body: (ShardRouter) async throws -> Void
    ) async throws {
        let router = try await ShardRouter.start(
            configuration, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await router.run() }
            try await body(router)
            group.cancelAll()
        }
    }

    @Test func `writes, batches, reads and the map are counted by shard and outcome`()
        async throws
    {
        let cluster = try await TestCluster.start(shards: 1)
        let metrics = TestMetrics()
        var configuration = RouterConfiguration(catalog: try cluster.routerSettings())
        configuration.metricsFactory = metrics
        let shard = [("shard", "shard-1")]

        try await withRouter(configuration) { router in
            let first = message("lobby", "one")
            _ = try await router.store(first, patience: patience)
            _ = try await router.store(first, patience: patience)
            await #expect(throws: WriteError.conflict(id: first.id)) {
                try await router.store(
                    message("lobby", "two", id: first.id), patience: patience)
            }
            _ = try await router.history(of: RoomID("lobby"), limit: 10, patience: patience)
        }

        for outcome in ["stored", "duplicate", "conflict"] {
            let counter = try metrics.expectCounter(
                "router_writes_total", shard + [("outcome", outcome)])
            #expect(counter.totalValue == 1, "\(outcome)")
        }
        let reads = try metrics.expectCounter(
            "router_reads_total", shard + [("outcome", "ok")])
        #expect(reads.totalValue == 1)
        #expect(try metrics.expectRecorder("router_batch_rows", shard).values == [1, 1, 1])
        #expect(try metrics.expectTimer("router_commit_seconds", shard).values.count == 3)
        #expect(try metrics.expectTimer("router_write_seconds", shard).values.count == 3)
        #expect(try metrics.expectTimer("router_read_seconds", shard).values.count == 1)
        #expect(try metrics.expectMeter("router_topology_epoch").values.last == 1)
        #expect(try metrics.expectMeter("router_queue_rows", shard).values.isEmpty == false)
    }

    @Test func `retries are counted by their reason, and an open circuit shows`() async throws {
        let cluster = try await TestCluster.start(shards: 1)
        let metrics = TestMetrics()
        var configuration = RouterConfiguration(catalog: try cluster.routerSettings())
        configuration.metricsFactory = metrics
        configuration.limits.circuit.tolerance = .milliseconds(100)
        let shard = [("shard", "shard-1")]

        try await withRouter(configuration) { router in
            _ = try await router.store(message("lobby", "one"), patience: patience)
            cluster.servers[0].kill()
            await #expect(throws: WriteError.self) {
                while true {
                    _ = try await router.store(message("lobby", "two"), patience: patience)
                }
            }
        }

        let reasons = ["connection", "lost", "shutdown"].map { reason in
            metrics.counterTotal(
                label: "router_retries_total", dimensions: shard + [("reason", reason)])
        }
        #expect(reasons.reduce(0, +) > 0)
        #expect(try metrics.expectMeter("router_circuit_open", shard).values.last == 1)
        #expect(try metrics.expectCounter("router_circuit_opened_total", shard).totalValue == 1)
    }

    @Test func `a trace leads from the message to its batch, and names no room`() async throws {
        let cluster = try await TestCluster.start(shards: 1)
        let tracer = InMemoryTracer()
        var configuration = RouterConfiguration(catalog: try cluster.routerSettings())
        configuration.tracer = tracer

        try await withRouter(configuration) { router in
            _ = try await router.store(message("lobby", "one"), patience: patience)
            _ = try await router.history(of: RoomID("lobby"), limit: 10, patience: patience)
            _ = try await router.read(for: RoomID("lobby"), patience: patience) { _ in }
        }

        let spans = tracer.finishedSpans
        #expect(
            Set(spans.map(\.operationName)) == [
                "router.store", "router.batch", "router.history", "router.read",
            ])
        let store = try #require(spans.first { $0.operationName == "router.store" })
        let batch = try #require(spans.first { $0.operationName == "router.batch" })
        #expect(batch.links.map(\.context.inMemorySpanContext) == [store.spanContext])
        #expect(batch.attributes.get("rows") == .int64(1))
        #expect(store.attributes.get("outcome") == .string("stored"))
        #expect(spans.allSatisfy { !$0.operationName.contains("lobby") })
    }
}
