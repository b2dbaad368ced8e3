import Postgres
import TestKit
import Testing

@testable import ShardOperations

/// A file that is not transactional, after its runner was killed: each kind of statement, in each
/// state in which the database can be.
@Suite(.timeLimit(.minutes(2))) struct MigrationResumeTests {
    private static let off = MigrationStage.off
    private static let tables = """
        create collation app_order (provider = icu, locale = 'de');
        create schema "Odd; schema";
        create table t (a int4, b text, c text collate "C", d int4, e jsonb);
        create table other (a int4, b text);
        create table "Odd; schema"."Odd "" name" ("A b" int4, b text);
        """

    /// The statement of a file, and how somebody else may have written the same index.
    private static let equals: [(file: String, index: String)] = [
        ("i on t (a)", "index i on public.t using btree (a asc nulls last)"),
        ("i on public.t (a desc, b)", "index i on t (a desc nulls first, b)"),
        ("i on t ((a + d))", "index i on public.t using btree ((a+d))"),
        ("i on t (lower(b))", "index i on t (pg_catalog.lower(b))"),
        ("i on t (a) where b is not null", "index i on t (a) where (b IS NOT NULL)"),
        ("i on t (a) where d in (1, 2)", "index i on t (a) where d = any (array[1, 2])"),
        ("i on t (a) with (fillfactor = 70)", "index i on t (a) with (fillfactor = '70')"),
        ("i on t (a) include (b, d)", "index i on t (a) include (b, d)"),
        ("i on t using gin (e jsonb_path_ops)", "index i on t using gin (e jsonb_path_ops)"),
        ("i on t (b collate \"C\", c)", "index i on t (b collate \"C\", c collate \"C\")"),
        ("i on t (b collate app_order)", "index i on t (b collate public.app_order)"),
        ("i on t (b text_pattern_ops)", "index i on t (b text_pattern_ops)"),
        ("if not exists i on only t(a)", "index i on t (a)"),
        (
            "\"I; x\" on \"Odd; schema\".\"Odd \"\" name\"(\"A b\")",
            "index \"I; x\" on \"Odd; schema\".\"Odd \"\" name\" (\"A b\")"
        ),
        ("i on \n  t -- a comment (with a bracket)\n (a)", "index i on t (a)"),
    ]

    @Test func `an index that is there is recognised however it was written`() async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        for pair in Self.equals {
            for unique in ["", "unique "] where !pair.file.contains("gin") || unique.isEmpty {
                let script = "\(Self.off)create \(unique)index concurrently \(pair.file);"
                let name = pair.file.contains("I; x") ? "\"Odd; schema\".\"I; x\"" : "i"
                try await stage.run("create \(unique)\(pair.index)")
                let before = try await stage.file(name)

                #expect(try await stage.up(script) == [2], "\(pair)")

                #expect(try await stage.file(name) == before, "\(pair)")
                #expect(before != nil && stage.mends.isEmpty)
                try await stage.run("drop index \(name)")
                try await stage.forget()
            }
        }
    }

    @Test func `nulls not distinct is a part of an index`() async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        try await stage.run("create unique index i on t (a) nulls not distinct")
        let same = "\(Self.off)create unique index concurrently i on t (a) nulls not distinct;"
        let other = "\(Self.off)create unique index concurrently i on t (a);"
        let before = try await stage.file("i")

        let failure = await #expect(throws: OperationError.self) { try await stage.up(other) }
        #expect(try await stage.up(same) == [2])

        #expect(failure?.kind == .refused)
        #expect(try await stage.file("i") == before)
    }

    /// What has the name, for a file that makes `i on t (a)`.
    private static let different: [(made: String, reason: String)] = [
        ("create index i on t (d)", "exists, but is USING btree (d)"),
        ("create index i on t (a, d)", "exists, but is USING btree (a, d)"),
        ("create index i on t (a desc)", "exists, but is USING btree (a DESC)"),
        ("create index i on t ((a + 1))", "exists, but is USING btree (((a + 1)))"),
        ("create index i on t using hash (a)", "exists, but is USING hash (a)"),
        ("create index i on t (a) where a > 1", "exists, but is USING btree (a) WHERE (a > 1)"),
        ("create index i on t (a) include (d)", "exists, but is USING btree (a) INCLUDE (d)"),
        ("create unique index i on t (a)", "exists, but is unique USING btree (a)"),
        ("create index i on other (a)", "is no index of t"),
        ("create table i (a int4)", "is no index of t"),
        ("create view i as select 1 as a", "is no index of t"),
    ]

    @Test func `something else with the name of an index is refused and stays`() async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        let script = "\(Self.off)create index concurrently i on t (a);"
        for isBegun in [false, true] {
            for (made, reason) in Self.different {
                try await stage.run(made)
                if isBegun { try await stage.killed(in: script) }

                let failure = await #expect(throws: OperationError.self) {
                    try await stage.up(script)
                }

                #expect(failure?.kind == .refused)
                #expect(failure?.description.contains(reason) == true, "\(failure as Any)")
                #expect(failure?.next.contains("drop or rename what is there") == true)
                #expect(try await stage.value("select to_regclass('i')::text") == "i")
                let kind = made.split(separator: " ").first { ["table", "view"].contains($0) }
                try await stage.run("drop \(kind ?? "index") i")
                try await stage.forget()
            }
        }
    }

    @Test func `an index without a name is refused before anything of its file is done`()
        async throws
    {
        let stage = try await MigrationStage.start()

        let failure = await #expect(throws: OperationError.self) {
            try await stage.up(
                "\(Self.off)create table made (a int4);\ncreate index concurrently on made (a);")
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.next == "give it a name")
        #expect(try await stage.value("select to_regclass('made')::text") == nil)
    }

    /// Somebody else's may be in the making, or have been stopped.
    @Test func `an invalid index of another kind is refused and stays`() async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        try await stage.run("create index i on t (d)")
        try await invalidate("i", stage)

        let failure = await #expect(throws: OperationError.self) {
            try await stage.up("\(Self.off)create index concurrently i on t (a);")
        }

        #expect(failure?.description.contains("but is invalid and USING btree (d)") == true)
        #expect(try await stage.value("select to_regclass('i')::text") == "i")
        #expect(stage.mends.isEmpty)
    }

    private func invalidate(_ index: String, _ stage: MigrationStage) async throws {
        try await stage.run(
            "update pg_index set indisvalid = false where indexrelid = '\(index)'::regclass")
    }

    enum Found: CaseIterable {
        case nothing, invalid, complete
    }

    @Test(arguments: Found.allCases)
    func `an index that was begun is there once and valid`(found: Found) async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        let script = "\(Self.off)create unique index concurrently \"I x\" on t (a) where a > 0;"
        try await stage.killed(in: script)
        if found != .nothing {
            try await stage.run("create unique index \"I x\" on t (a) where a > 0")
        }
        if found == .invalid { try await invalidate("\"I x\"", stage) }
        let before = try await stage.file("\"I x\"")

        #expect(try await stage.up(script) == [2])

        let after = try await stage.file("\"I x\"")
        #expect(after != nil)
        #expect((after == before) == (found == .complete))
        #expect(
            stage.mends == (found == .invalid ? ["drop index concurrently public.\"I x\""] : []))
        #expect(
            try await stage.value("select count(*)::text from pg_index where not indisvalid") == "0"
        )
        #expect(try await stage.value("select count(*)::text from shard.migration_steps") == "0")
    }

    @Test(arguments: [true, false])
    func `an index that was being dropped is gone`(isThere: Bool) async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        let script = "\(Self.off)drop index concurrently public.\"I x\";"
        if isThere {
            try await stage.run("create index \"I x\" on t (a)")
            try await invalidate("\"I x\"", stage)
        }
        try await stage.killed(in: script)

        #expect(try await stage.up(script) == [2])

        #expect(try await stage.file("\"I x\"") == nil)
    }

    @Test func `an index that nobody began to drop must be there`() async throws {
        let stage = try await MigrationStage.start()

        let failure = await #expect(throws: OperationError.self) {
            try await stage.up("\(Self.off)drop index concurrently i;")
        }

        #expect(failure?.kind == .failed)
        #expect(failure?.description.contains("index \"i\" does not exist") == true)
    }

    @Test(arguments: ["table t", "index i"])
    func `copies that a stopped rebuild left are removed`(what: String) async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        try await stage.run("create index i on t (a); create index i_ccnew on t (a)")
        try await invalidate("i_ccnew", stage)
        let script = "\(Self.off)reindex \(what.replacing(" ", with: " concurrently "));"
        try await stage.killed(in: script)
        let before = try await stage.file("i")

        #expect(try await stage.up(script) == [2])

        #expect(stage.mends == ["drop index concurrently public.i_ccnew"])
        #expect(try await stage.file("i_ccnew") == nil)
        #expect(try await stage.file("i") != before)
    }

    @Test(arguments: Found.allCases)
    func `a partition that was being detached is detached`(found: Found) async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(
            """
            create table p (n int4) partition by range (n);
            create table "p 1" partition of p for values from (0) to (9)
            """)
        let script = "\(Self.off)alter table p detach partition \"p 1\" concurrently;"
        try await stage.killed(in: script)
        switch found {
        case .nothing: break
        case .complete: try await stage.run("alter table p detach partition \"p 1\"")
        case .invalid: try await leavePending(stage)
        }

        #expect(try await stage.up(script) == [2])

        #expect(try await stage.value("select count(*)::text from pg_inherits") == "0")
        #expect(stage.mends.count == (found == .invalid ? 1 : 0))
    }

    /// The first transaction of a detach commits, the second waits for `reader` and is cancelled.
    private func leavePending(_ stage: MigrationStage) async throws {
        let reader = try await MigrationStage.connect(stage.server.connectionString())
        defer { reader.close() }
        try await reader.script("begin; select from p", deadline: .now + .seconds(20))
        await #expect(throws: PostgresError.self) {
            try await stage.connection.script(
                "set lock_timeout = 100", deadline: .now + .seconds(20))
            try await stage.connection.script(
                "alter table p detach partition \"p 1\" concurrently",
                deadline: .now + .seconds(20))
        }
        #expect(
            try await stage.value("select bool_and(inhdetachpending)::text from pg_inherits")
                == "true")
        try await reader.script("commit", deadline: .now + .seconds(20))
    }

    @Test func `a statement that tells nothing is not repeated unless its file allows it`()
        async throws
    {
        let stage = try await MigrationStage.start()
        try await stage.run("create table runs (n int4)")
        let body = "do $$ begin insert into runs values (1); commit; end $$;"
        try await stage.killed(in: Self.off + body)

        let failure = await #expect(throws: OperationError.self) {
            try await stage.up(Self.off + body)
        }
        #expect(failure?.kind == .refused)
        #expect(failure?.next.contains("migrate repair the shard --step 2/1") == true)
        #expect(try await stage.value("select count(*)::text from runs") == "0")
        let allowed = "-- shardctl: transaction=off repeatable=on\n" + body
        #expect(try await stage.up(allowed) == [2])

        #expect(try await stage.value("select count(*)::text from runs") == "1")
    }

    @Test(arguments: ["vacuum t", "analyze t", "vacuum (full) t", "reindex table t"])
    func `what does the same again is repeated`(statement: String) async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(Self.tables)
        let script = "\(Self.off)\(statement);"
        try await stage.killed(in: script)

        #expect(try await stage.up(script) == [2])
    }

    @Test func `a plain statement is written down with what it does, or not at all`() async throws {
        let stage = try await MigrationStage.start()
        try await stage.run("create table runs (n int4)")
        let script = """
            \(Self.off)insert into runs values (1);
            insert into runs values (2);
            insert into runs select 1 / (2 - n) from runs;
            """

        await #expect(throws: OperationError.self) { try await stage.up(script) }
        let steps = try await stage.value(
            "select string_agg(step || ' ' || state, ', ') from shard.migration_steps")
        try await stage.run("delete from runs where n = 2")
        #expect(try await stage.up(script) == [2])

        #expect(steps == "1 done, 2 done")
        #expect(try await stage.value("select string_agg(n::text, ' ') from runs") == "1 1")
    }

    // MARK: What a file sets

    @Test func `a setting holds for the rest of its file after a stop`() async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(
            "create table t (a int4); create schema app; create table app.t (a int4)")
        let begin = "\(Self.off)set search_path = app;\ncreate index concurrently i on t (a);"
        try await stage.killed(in: begin)

        #expect(try await stage.up(begin + "\ncreate table late ();") == [2])

        #expect(try await stage.value("select to_regclass('app.i')::text") == "app.i")
        #expect(try await stage.value("select to_regclass('public.i')::text") == nil)
        #expect(try await stage.value("select to_regclass('app.late')::text") == "app.late")
    }

    @Test(arguments: ["", MigrationStage.off])
    func `a file may choose who owns what it makes`(first: String) async throws {
        let stage = try await MigrationStage.start()
        try await stage.run(
            "create role maker; create schema app authorization maker;"
                + "create table app.t (a int4); alter table app.t owner to maker")
        let index = first.isEmpty ? "create index" : "create index concurrently"

        let applied = try await stage.up(
            "\(first)set role maker;\n\(index) i on app.t (a);\ncreate table app.made ();")

        #expect(applied == [2])
        #expect(
            try await stage.value(
                "select string_agg(relowner::regrole::text, ' ') from pg_class "
                    + "where relname in ('i', 'made')") == "maker maker")
    }

    @Test func `a way back that was edited half-way is refused`() async throws {
        let stage = try await MigrationStage.start()
        let up = "create table a (); create table b ();"
        _ = try await stage.up(up)
        try await stage.killed(in: "\(Self.off)drop table a;", .down)
        let edited = try stage.migrator([(up, "\(Self.off)drop table if exists a;\ndrop table b;")])

        let failure = await #expect(throws: OperationError.self) {
            try await edited.down(2, stage.connection)
        }

        #expect(failure?.kind == .refused)
        #expect(failure?.description.contains("edited after this statement had begun") == true)
        #expect(try await stage.value("select to_regclass('b')::text") == "b")
    }
}
