import Foundation
import Postgres
import ShardRouter
import TestKit
import Testing

/// Breaks one of two shards while callers write to both. After each: every acknowledged message
/// exactly once, `seq` without holes, the other shard's callers undisturbed, no connection left.
@Suite(.timeLimit(.minutes(3))) struct RouterFaultTests {
    /// What happens to shard 1.
    enum Fault: String, CaseIterable, CustomTestStringConvertible {
        case stopped, crashed, frozen, unreachable, refusing, readOnly

        var testDescription: String { rawValue }

        func begin(_ cluster: TestCluster) async throws {
            let (server, proxy) = (cluster.servers[0], cluster.proxies[0])
            switch self {
            case .stopped: server.kill()  // pg_ctl stop -m immediate
            case .crashed: try server.crash()
            case .frozen: server.freeze()
            case .unreachable: proxy.set(.silence)
            case .refusing:
                proxy.set(.refusal)
                proxy.cutAll()
            case .readOnly: try await Fault.setReadOnly(true, cluster)
            }
        }

        func end(_ cluster: TestCluster) async throws {
            let (server, proxy) = (cluster.servers[0], cluster.proxies[0])
            switch self {
            case .stopped, .crashed: try server.start()
            case .frozen: server.thaw()
            case .unreachable, .refusing: proxy.set(.none)
            case .readOnly: try await Fault.setReadOnly(false, cluster)
            }
        }

        private static func setReadOnly(_ isReadOnly: Bool, _ cluster: TestCluster) async throws {
            let connection = try await cluster.operatorConnection(shard: 1)
            defer { connection.close() }
            for sql in [
                "set default_transaction_read_only = off",
                "alter system set default_transaction_read_only = \(isReadOnly)",
                "select pg_reload_conf()",
            ] { _ = try await connection.query(sql, deadline: .now + .seconds(20)) }
        }
    }

    @Test(arguments: Fault.allCases)
    func `a broken shard loses nothing and disturbs no other`(fault: Fault) async throws {
        let cluster = try await TestCluster.start(shards: 2, isProxied: true)

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            try await fault.begin(cluster)
            try await traffic.failure(1)
            try await traffic.progress(2, by: 100)
            try await fault.end(cluster)
            try await traffic.progress(1)

            #expect(traffic.failures(2).isEmpty, "\(traffic.failures(2))")
        }
    }

    @Test func `a slow network and killed sessions are borne without an error`() async throws {
        let cluster = try await TestCluster.start(shards: 2, isProxied: true)

        try await Traffic.run(on: cluster) { traffic in
            cluster.proxies[0].set(.delay(milliseconds: 20))
            try await traffic.progress(1)
            for _ in 0..<5 {
                _ = try await cluster.rows(
                    shard: 1,
                    """
                    select pg_terminate_backend(pid) from pg_stat_activity
                    where application_name = 'shardrouter'
                    """)
                try await traffic.progress(1, by: 5)
            }
            cluster.proxies[0].set(.none)
            try await traffic.progress(1)

            #expect(traffic.failures(1).isEmpty, "\(traffic.failures(1))")
        }
    }

    @Test(arguments: FaultProxy.Moment.allCases)
    func `a connection cut around a commit is repeated with the same ids`(
        moment: FaultProxy.Moment
    ) async throws {
        let cluster = try await TestCluster.start(shards: 1, isProxied: true)

        try await Traffic.run(on: cluster) { traffic in
            let room = traffic.room(on: 1)
            for number in 1...5 {
                let marker = "cut here \(moment) \(number)"
                cluster.proxies[0].cutNext(moment, marker: marker)
                try await traffic.storeAtLast(
                    Message(
                        id: UUID(), room: room, author: "bo", sentAt: .now, receivedAt: .now,
                        text: marker))
            }

            #expect(cluster.proxies[0].cuts == 5)
            #expect(traffic.failures(1).isEmpty, "\(traffic.failures(1))")
        }
    }

    @Test(.enabled(if: getuid() == 0, "only root can make a disk"))
    func `a full disk stops one shard until there is room again`() async throws {
        let disk = try TemporaryDisk(megabytes: 96)
        let cluster = try await TestCluster.start(
            on: [try PostgresServer.start(on: disk), try PostgresServer.start()])

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            try disk.fill()
            try await traffic.failure(1)
            try await traffic.progress(2, by: 100)
            try disk.free()
            // It may have given up because its log could not grow.
            if !cluster.servers[0].isRunning { try cluster.servers[0].start() }
            try await traffic.progress(1)

            #expect(traffic.failures(2).isEmpty, "\(traffic.failures(2))")
        }
    }

    @Test func `a server without a free connection is waited for`() async throws {
        let cluster = try await TestCluster.start(
            on: [
                try PostgresServer.start(settings: ["max_connections": "12"]),
                try PostgresServer.start(),
            ])
        let operatorConnection = try await cluster.operatorConnection(shard: 1)
        defer { operatorConnection.close() }
        let guest = try ConnectionSettings(
            "host=127.0.0.1 port=\(cluster.servers[0].port) user=guest dbname=postgres")
        func run(_ sql: String) async throws {
            _ = try await operatorConnection.query(sql, deadline: .now + .seconds(20))
        }
        try await run("create role guest login")

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            // The router is kept out until the guests have taken every place.
            try await run("alter role chatd connection limit 0")
            try await run(
                """
                select pg_terminate_backend(pid, 5000) from pg_stat_activity
                where usename = 'chatd'
                """)
            var guests: [PostgresConnection] = []
            do throws(PostgresError) {
                while guests.count < 12 {
                    guests.append(
                        try await PostgresConnection.connect(guest, deadline: .now + .seconds(5)))
                }
            } catch {
                #expect("\(error)".contains("remaining connection slots"))
            }
            try await run("alter role chatd connection limit -1")
            try await traffic.failure(1)
            try await traffic.progress(2, by: 100)
            guests.forEach { $0.close() }
            try await traffic.progress(1)

            #expect(traffic.failures(2).isEmpty, "\(traffic.failures(2))")
        }
    }

    @Test func `a standby that was promoted is found without a restart`() async throws {
        let cluster = try await TestCluster.start(shards: 2)
        let primary = cluster.servers[0]
        let standby = try PostgresServer.start(asStandbyOf: primary)
        let catalog = try await cluster.catalogConnection()
        defer { catalog.close() }
        try await catalog.script(
            """
            update catalog.shards set endpoint =
                'host=127.0.0.1,127.0.0.1 port=\(primary.port),\(standby.port) dbname=postgres'
            where name = 'shard-1'
            """, deadline: .now + .seconds(20))

        try await Traffic.run(on: cluster, servers: [standby, cluster.servers[1]]) { traffic in
            try await traffic.progress(1)
            try primary.crash()
            try standby.promote()
            try await traffic.progress(1)

            #expect(traffic.failures(2).isEmpty, "\(traffic.failures(2))")
        }
    }

    @Test func `a commit that its synchronous standby does not have is not acknowledged`()
        async throws
    {
        let cluster = try await TestCluster.start(shards: 1)
        let standby = try PostgresServer.start(asStandbyOf: cluster.servers[0])

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            standby.freeze()
            try await traffic.failure(1)
            try await traffic.failure(1)
            let stored = traffic.stored(1)
            try await traffic.failure(1)
            #expect(traffic.stored(1) == stored, "only this server had it")
            standby.thaw()
            try await traffic.progress(1)
        }
    }

    @Test(arguments: ["40P01", "40001", "55P03"])
    func `conflicts with other transactions are repeated by the router`(sqlState: String)
        async throws
    {
        let cluster = try await TestCluster.start(shards: 1)
        _ = try await cluster.rows(shard: 1, "create sequence public.attempts")
        _ = try await cluster.rows(
            shard: 1,
            """
            create function public.conflict() returns trigger language plpgsql
            security definer as $$
            begin
                if nextval('public.attempts') % 7 < 3 then
                    raise exception 'in the way' using errcode = '\(sqlState)';
                end if;
                return new;
            end
            $$
            """)
        _ = try await cluster.rows(
            shard: 1,
            """
            create trigger conflict before insert on public.messages
            for each row execute function public.conflict()
            """)

        try await Traffic.run(on: cluster, roomsPerShard: 2) { traffic in
            try await traffic.progress(1)

            #expect(traffic.failures(1).isEmpty, "\(traffic.failures(1))")
        }
    }

    @Test func `a full queue refuses at once and says when to come back`() async throws {
        let cluster = try await TestCluster.start(shards: 1)
        var limits = RouterLimits()
        limits.queuedRows = 10
        let blocker = try await cluster.operatorConnection(shard: 1)
        defer { blocker.close() }

        try await Traffic.run(on: cluster, roomsPerShard: 20, limits: limits) { traffic in
            try await traffic.progress(1)
            try await blocker.script(
                "begin; lock table public.messages in access exclusive mode",
                deadline: .now + .seconds(20))
            try await traffic.eventually("the queue is full") {
                traffic.failures(1).contains {
                    guard case .overloaded(_, let retryAfter) = $0 else { return false }
                    return retryAfter > .zero
                }
            }
            try await blocker.script("rollback", deadline: .now + .seconds(20))
            try await traffic.progress(1)
        }
    }

    @Test func `want of a right is the shard's fault, and no message is refused for it`()
        async throws
    {
        let cluster = try await TestCluster.start(shards: 1)
        let append = "all functions in schema shard"

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            _ = try await cluster.rows(shard: 1, "revoke execute on \(append) from chat_app")
            try await traffic.failure(1)
            _ = try await cluster.rows(shard: 1, "grant execute on \(append) to chat_app")
            try await traffic.progress(1)
        }
    }
}
