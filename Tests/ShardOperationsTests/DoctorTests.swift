import FoundationEssentials
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct DoctorTests {
    /// Something that is wrong with shards `one` and `two`, and what is to be found.
    private struct Case: Sendable, CustomStringConvertible {
        var code: Finding.Code
        /// Where it is found; nil is the catalog.
        var shard: String?
        /// Scripts by database; `PREFIX` stands for what artefacts' names begin with, `SLOT` for a
        /// slot of `one` that no other case has touched.
        var causes: [(database: String, sql: String)]
        var description: String { "\(code): \(causes.map(\.sql))" }

        init(_ code: Finding.Code, on shard: String?, _ causes: (String, String)...) {
            self.code = code
            self.shard = shard
            self.causes = causes.map { ($0.0, $0.1) }
        }
    }

    /// Small pauses: nothing moves in these tests.
    private static let limits: DoctorLimits = {
        var limits = DoctorLimits()
        limits.pause = .milliseconds(1)
        return limits
    }()

    private func examine(
        _ databases: Databases, _ change: (inout DoctorLimits) -> Void = { _ in }
    ) async throws -> [Finding] {
        var limits = Self.limits
        change(&limits)
        return try await Doctor(cluster: try databases.cluster(), limits: limits).run()
    }

    private func provoke(_ test: Case, _ databases: Databases, slot: Int = 0) async throws {
        let prefix = try await databases.artefactPrefix()
        for (database, sql) in test.causes {
            try await databases.script(
                database,
                sql.replacing("PREFIX", with: prefix).replacing("SLOT", with: "\(slot)"))
        }
    }

    /// What its proposed command or SQL repairs; some need a second step.
    private static let repairable: [Case] = [
        Case(
            .twoOwners, on: "one",
            (
                "two",
                "update shard.slots set state = 'active', epoch = 9 where slot in (SLOT, SLOT + 1, SLOT + 4)"
            )),
        Case(
            .noOwner, on: "one",
            ("one", "update shard.slots set state = 'none' where slot between SLOT and SLOT + 3")),
        Case(
            .catalogDisagrees, on: "one",
            ("one", "update shard.slots set state = 'moved', moved_to = 2 where slot = SLOT"),
            ("two", "update shard.slots set state = 'active', epoch = 9 where slot = SLOT")),
        Case(
            .catalogDisagrees, on: "one",
            ("catalog", "update catalog.slots set epoch = 7 where slot = SLOT")),
        Case(
            .catalogDisagrees, on: "one",
            ("one", "update shard.slots set epoch = 7 where slot = SLOT")
        ),
        Case(
            .staleFence, on: "one",
            (
                "one",
                """
                update shard.slots set state = 'fenced', move_id = 99,
                    fenced_at = now() - interval '1 minute' where slot = SLOT
                """
            )),
        Case(
            .staleFence, on: "one",
            (
                "one",
                """
                update shard.slots set state = 'fenced', move_id = 99,
                    fenced_at = now() - interval '1 minute' where slot = SLOT
                """
            ), ("two", "update shard.slots set state = 'active', epoch = 9 where slot = SLOT")),
        Case(
            .leftoverState, on: "two",
            (
                "two",
                "update shard.slots set state = 'preparing', move_id = 99 where slot between SLOT and SLOT + 3"
            )),
        Case(
            .leftoverState, on: "one",
            (
                "one",
                """
                update shard.slots set state = 'fenced', move_id = 99, fenced_at = now()
                where slot = SLOT
                """
            )),
        Case(
            .foreignRows, on: "two",
            (
                "two",
                """
                insert into rooms select 'room-' || n from generate_series(1, 50) n
                where shard.slot_of('room-' || n) between 1000 and 8191
                """
            )),
        Case(
            .preparedTransaction, on: "one",
            ("one", "begin; select 1; prepare transaction 'it''s \"$HOME\"'")),
    ]

    @Test func `a cluster without faults has no findings`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        for name in ["one", "two"] {
            try await databases.script(
                name,
                """
                insert into rooms select room from (select 'room-' || n from generate_series(1, 99) n)
                    as r (room)
                where (select state from shard.slots where slot = shard.slot_of(room)) = 'active'
                """)
        }

        #expect(try await examine(databases) == [])
        let answer = try await databases.shardctl.run("doctor")
        #expect(answer.code == 0)
        #expect((answer.json["findings"] as? [Any])?.isEmpty == true)
    }

    @Test func `a move that goes on, and an old copy that waits, are no findings`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let prefix = try await databases.artefactPrefix()
        let room = "select room from (select 'r' || n from generate_series(1, 9999) n) as r (room)"
        // Move 1 is done and waits to be purged; move 2 stands at its fence.
        try await databases.openMove([5])
        try await databases.openMove([6, 7])
        try await databases.script(
            "one",
            """
            insert into rooms \(room) where shard.slot_of(room) in (5, 6, 7);
            update shard.slots set state = 'moved', move_id = 1, barred = 1, moved_to = 2, epoch = 2
            where slot = 5;
            select shard.move_fence(2, array[6, 7], array[1, 1], 0, 2);
            create publication \(prefix)2 for table rooms
            """)
        try await databases.script(
            "two",
            """
            insert into rooms \(room) where shard.slot_of(room) in (5, 6);
            update shard.slots set state = 'active', move_id = 1, barred = 1, epoch = 2
            where slot = 5;
            select shard.move_prepare(2, array[6, 7]); select shard.move_import(2, array[6, 7])
            """)
        try await databases.script(
            "catalog",
            "select catalog.publish_move(1); select catalog.close_move(1, 'done', null, '1 hour')")

        #expect(try await examine(databases) == [])
    }

    @Test func `what is found is repaired by what is proposed`() async throws {
        let server = try PostgresServer.start(settings: ["max_prepared_transactions": "10"])
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        for (number, test) in Self.repairable.enumerated() {
            try await provoke(test, databases, slot: number * 10)
            var findings = try await examine(databases) { $0.prepared = .seconds(-1) }

            #expect(
                findings.contains { $0.code == test.code && $0.shard == test.shard },
                "\(test): \(findings)")
            for _ in 0..<4 where !findings.isEmpty {
                let repair = String(findings[0].repair.split(separator: ", or ")[0])
                #expect(try await databases.shardctl.shell(repair).code == 0, "\(repair)")
                findings = try await examine(databases) { $0.prepared = .seconds(-1) }
            }
            #expect(findings == [], "\(test)")
        }
    }

    /// What only an operator, or a command that works on moves, can mend.
    private static let others: [Case] = [
        Case(
            .tableCannotMove, on: "one", ("one", "alter table messages replica identity nothing")),
        Case(
            .tableCannotMove, on: "one",
            ("one", "insert into shard.tables values ('public.gone')")),
        Case(
            .tableCannotMove, on: "one",
            (
                "one",
                """
                create table kinds (kind text primary key);
                alter table messages add column kind text references kinds
                """
            )),
        Case(.tableNotRegistered, on: "two", ("two", "create table notes (room_id text)")),
        Case(
            .tableRefersToMoving, on: "two",
            ("two", "create table likes (room text references rooms)")),
        Case(
            .schemaDiffers, on: "two",
            (
                "two",
                """
                delete from shard.migrations
                where version = (select max(version) from shard.migrations)
                """
            )),
        Case(
            .schemaDiffers, on: nil,
            ("catalog", "insert into catalog.migrations values (99, 'later', '', now(), 0)")),
        // More rooms than are looked at.
        Case(
            .foreignRows, on: "two",
            (
                "two",
                """
                insert into rooms select 'room-' || n from generate_series(1, 60000) n
                where shard.slot_of('room-' || n) < 8192;
                analyze rooms
                """
            )),
        Case(.orphanedPublication, on: "one", ("one", "create publication PREFIX7")),
        Case(
            .orphanedReplicationSlot, on: "one",
            ("one", "select pg_create_logical_replication_slot('PREFIX7', 'pgoutput')")),
        Case(
            .orphanedReplicationSlot, on: "one",
            ("one", "select pg_create_logical_replication_slot('PREFIX7_v', 'pgoutput')")),
        Case(
            .orphanedSubscription, on: "two",
            (
                "two",
                """
                create subscription PREFIX7 connection 'dbname=postgres' publication p
                with (connect = false)
                """
            )),
        Case(
            .unfinishedAddition, on: "three",
            ("catalog", "insert into catalog.shards (name, endpoint) values ('three', 'port=1')")),
    ]

    @Test func `what an operator has to decide is found and explained`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        var known: [Finding] = []
        for test in Self.others {
            try await provoke(test, databases)

            let findings = try await examine(databases)

            let new = findings.filter { !known.contains($0) }
            let finding = new.first { $0.code == test.code && $0.shard == test.shard }
            #expect(finding != nil, "\(test): \(new)")
            #expect(finding?.explanation.isEmpty == false)
            #expect(finding?.repair.isEmpty == false)
            known = findings
        }
    }

    @Test func `the command tells programs what was found, with exit code 3`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one"])
        try await databases.script("one", "create table notes (room_id text)")

        let answer = try await databases.shardctl.run("doctor")
        let text = try await databases.shardctl.runPlainly(["doctor"]).text

        #expect(answer.code == 3)
        let found = try #require(answer.json["findings"] as? [[String: Any]])
        #expect(found.map { $0["code"] as? String } == ["tableNotRegistered"])
        #expect(
            Set(found[0].keys) == [
                "code", "severity", "shard", "detail", "explanation", "repair",
            ])
        #expect(text.contains("warning tableNotRegistered on one: public.notes"))
        #expect(text.contains("\nnext: shardctl migrate new TITLE"))
    }
}
