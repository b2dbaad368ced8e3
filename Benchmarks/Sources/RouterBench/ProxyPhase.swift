import BenchKit
import Postgres
import ShardRouter

/// The same messages by way of PL/Proxy, on the same servers into tables of the same shape.
struct ProxyPhase {
    let stage: Stage

    func run(_ report: inout Report) async throws {
        guard let place = try await makeProxy() else {
            print("5 skipped: PL/Proxy is not installed (apt-get install postgresql-15-plproxy)")
            return
        }
        for callers in [8, 32] {
            let proxy = BareClient(
                kind: .row, places: [place],
                sql: "select bench.insert_message($1, $2, $3, $4, $5, $6)", connections: callers)
            var (ours, theirs): ([Run], [Run]) = ([], [])
            for round in 0..<stage.plan.rounds {
                ours.append(
                    try await withRouter(stage.two) {
                        try await storeLoad(
                            $0, callers: callers, plan: stage.plan, watching: stage.two)
                    })
                theirs.append(try proxy.run(stage.plan, watching: stage.two))
                report.note("proxy, \(callers) callers", "router", round: round, ours[round])
                report.note("proxy, \(callers) callers", "PL/Proxy", round: round, theirs[round])
            }
            report.compare(
                "5 store, 2 shards, \(callers) callers, PL/Proxy", ours: ours.map(\.rowsPerSecond),
                rival: theirs.map(\.rowsPerSecond), unit: "rows/s", target: .atLeast(2),
                note: "CPU s/Mrow of clients and servers: ours "
                    + "\(short(median(ours.map(\.wholeCPUPerMillion)))), PL/Proxy "
                    + "\(short(median(theirs.map(\.wholeCPUPerMillion))))")
        }
    }

    /// A database whose function sends each message to one of the two shards; nil when PL/Proxy is
    /// not there.
    private func makeProxy() async throws -> String? {
        let server = stage.servers[0]
        let isThere = try await withDatabase(server.place("postgres")) {
            try await $0.query(
                "select 1 from pg_available_extensions where name = 'plproxy'",
                deadline: .now + .seconds(20)
            ).first != nil
        }
        guard isThere else { return nil }
        try await runScript("create database proxy", at: server.place("postgres"))
        let parts = stage.two.shards.enumerated().map {
            "p\($0) 'dbname=\($1.database) host=127.0.0.1 port=\($1.server.port)'"
        }
        try await runScript(
            """
            create extension plproxy;
            create server bench foreign data wrapper plproxy
                options (\(parts.joined(separator: ", ")));
            create user mapping for postgres server bench options (user 'postgres');
            create schema bench;
            create function bench.insert_message(
                room_id text, id uuid, author text, sent_at timestamptz, received_at timestamptz,
                body text) returns bigint
            language plproxy as $$
                cluster 'bench';
                run on hashtext(room_id);
            $$;
            """, at: server.place("proxy"))
        return server.place("proxy")
    }
}

extension Run {
    var wholeCPUPerMillion: Double { clientCPUPerMillion + serverCPUPerMillion }
}
