import FoundationEssentials
import Postgres
import ShardRouter
import TestKit
import Testing

/// Changes of the topology while callers write.
@Suite(.timeLimit(.minutes(3))) struct RouterTopologyTests {
    @Test func `a shard whose endpoint changes is followed without a failed write`() async throws {
        let cluster = try await TestCluster.start(shards: 2, isProxied: true)

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            try await change(
                cluster,
                """
                update catalog.shards
                set endpoint = 'host=127.0.0.1 port=\(cluster.servers[0].port) dbname=postgres'
                where name = 'shard-1'
                """)
            try await traffic.eventually("the new endpoint is known") {
                traffic.router.topology.shard(named: "shard-1")?.endpoint
                    .contains("\(cluster.servers[0].port)") == true
            }
            try await traffic.progress(1)
            cluster.proxies[0].stop()
            try await traffic.progress(1)
            try await traffic.progress(2)

            #expect(traffic.failures(1).isEmpty, "\(traffic.failures(1))")
            #expect(traffic.failures(2).isEmpty, "\(traffic.failures(2))")
        }
    }

    @Test func `a shard that is added takes over slots without a failed write`() async throws {
        let cluster = try await TestCluster.start(shards: 2, spares: 1)

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            try await change(
                cluster,
                """
                insert into catalog.shards (name, endpoint, state)
                values ('shard-3', '\(cluster.endpoint(shard: 3))', 'active')
                """)
            // The slots of rooms without messages: nothing has to be copied.
            let rooms = (0..<20).map { traffic.room(on: 1, "new-\($0)") }
            for (place, slot) in Set(rooms.map { traffic.router.route($0).slot }).enumerated() {
                try await cluster.handOver(slot, from: 1, to: 3, epoch: Int64(place + 2))
            }
            for room in rooms {
                try await traffic.storeAtLast(
                    Message(
                        id: UUID(), room: room, author: "bo", sentAt: .now, receivedAt: .now,
                        text: "hello"))
                #expect(traffic.router.route(room).shard == ShardID(3))
            }
            try await traffic.progress(1)

            for shard in 1...3 {
                #expect(traffic.failures(shard).isEmpty, "\(traffic.failures(shard))")
            }
        }
    }

    @Test func `a shard that is retired loses its connections`() async throws {
        let cluster = try await TestCluster.start(shards: 2, spares: 1)
        try await change(
            cluster,
            """
            insert into catalog.shards (name, endpoint, state)
            values ('shard-3', '\(cluster.endpoint(shard: 3))', 'draining')
            """)
        let connections = """
            select count(*) from pg_stat_activity where application_name = 'shardrouter'
            """

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.eventually("the pool is warm") {
                try await cluster.rows(shard: 3, connections)[0].get(0, as: Int.self) > 0
            }
            try await change(
                cluster, "update catalog.shards set state = 'retired' where name = 'shard-3'")
            try await traffic.eventually("the pool is closed") {
                try await cluster.rows(shard: 3, connections)[0].get(0, as: Int.self) == 0
            }
            try await traffic.progress(1)
        }
    }

    @Test func `the catalog may go away and come back with news`() async throws {
        let cluster = try await TestCluster.start(shards: 2, isProxied: true)

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            cluster.catalog.kill()
            try await traffic.progress(1, by: 200)
            try cluster.catalog.start()
            try await change(
                cluster,
                """
                update catalog.shards
                set endpoint = 'host=127.0.0.1 port=\(cluster.servers[1].port) dbname=postgres'
                where name = 'shard-2'
                """)
            try await traffic.eventually("the news is known") {
                traffic.router.topology.shard(named: "shard-2")?.endpoint
                    .contains("\(cluster.servers[1].port)") == true
            }
            try await traffic.progress(2)

            #expect(traffic.failures(1).isEmpty, "\(traffic.failures(1))")
            #expect(traffic.failures(2).isEmpty, "\(traffic.failures(2))")
        }
    }

    private func change(_ cluster: TestCluster, _ sql: String) async throws {
        let connection = try await cluster.catalogConnection()
        defer { connection.close() }
        try await connection.script(sql, deadline: .now + .seconds(20))
    }
}
