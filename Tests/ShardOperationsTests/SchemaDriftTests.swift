import Foundation
import Postgres
import TestKit
import Testing

@testable import ShardOperations

@Suite struct SchemaDriftTests {
    private var soon: ContinuousClock.Instant { .now + .seconds(60) }

    @Test func `every kind of drift is found alone, and its repair takes it back`() async throws {
        let server = try PostgresServer.start()
        let wanted = try await template(server)

        for (number, drift) in (DriftCase.all + DriftCase.registrations).enumerated() {
            let connection = try await copy(server, "case_\(number)")
            defer { connection.close() }
            let before = try await SchemaSight.read(.shard, connection, deadline: soon)
            for statement in try SQLSplitter.statements(of: drift.sql) {
                try await run(statement.text, connection, drift)
            }

            let sight = try await SchemaSight.read(.shard, connection, deadline: soon)
            let found = try await SchemaSnapshot.read(connection, deadline: soon)
            let differences = SchemaDifference.differences(found: found, wanted: wanted)
            try await repair(differences, connection, drift)
            let after = try await SchemaSnapshot.read(connection, deadline: soon)

            #expect(Set(differences.map(words)) == Set(drift.reported), "\(drift.name)")
            #expect(found.fingerprint != wanted.fingerprint, "\(drift.name)")
            #expect(sight.state != before.state, "\(drift.name) has to be seen at first sight")
            let rest = SchemaDifference.differences(found: after, wanted: wanted)
            #expect(rest.isEmpty != drift.isForPeople, "\(drift.name): \(rest.map(\.repair))")
        }
        #expect(DriftCase.all.count >= 60)
    }

    @Test func `the server computes the same fingerprint as the snapshot`() async throws {
        let server = try PostgresServer.start()
        let wanted = try await template(server)
        let connection = try await copy(server, "one")
        defer { connection.close() }

        let fingerprint = try await SchemaSnapshot.fingerprint(connection, deadline: soon)
        let coded = try JSONDecoder().decode(
            SchemaSnapshot.self, from: try JSONEncoder().encode(wanted))

        #expect(fingerprint == wanted.fingerprint)
        #expect(coded == wanted)
    }

    @Test func `numbers, dropped columns, owners and positions make no difference`() async throws {
        let server = try PostgresServer.start()
        let wanted = try await template(server)
        let root = try await connect(server, "postgres")
        defer { root.close() }
        try await root.script("create role other superuser login", deadline: soon)
        try await root.script("create database strange owner other", deadline: soon)
        let connection = try await connect(server, "strange", user: "other")
        defer { connection.close() }
        try await connection.script(
            "create table public.before (a int); drop table public.before", deadline: soon)

        _ = try await Migrator(kind: .shard, migrations: try files())
            .up(connection)
        try await connection.script(
            """
            alter table public.notes add column spare integer;
            alter table public.notes drop column spare;
            alter table public.notes drop column at;
            alter table public.notes add column at timestamptz default now();
            select nextval('public.ticket');
            create temporary table mine (a int);
            create publication mv_test for table public.messages;
            comment on table public.notes is 'something';
            grant insert on public.rooms to chat_app;
            revoke insert on public.rooms from chat_app;
            """, deadline: soon)
        let found = try await SchemaSnapshot.read(connection, deadline: soon)

        #expect(SchemaDifference.differences(found: found, wanted: wanted).map(words) == [])
        #expect(found.fingerprint == wanted.fingerprint)
        #expect(found.owner == "other")
    }

    @Test func `a whole schema that is missing is rebuilt`() async throws {
        let server = try PostgresServer.start()
        let wanted = try await template(server)
        let connection = try await copy(server, "empty")
        defer { connection.close() }
        try await connection.script("drop schema shard cascade", deadline: soon)

        let found = try await SchemaSnapshot.read(connection, deadline: soon)
        let differences = SchemaDifference.differences(found: found, wanted: wanted)
        try await repair(differences, connection, DriftCase("schema", ""))
        let after = try await SchemaSnapshot.read(connection, deadline: soon)

        #expect(differences.first.map(words) == "missing schema shard")
        #expect(!differences.contains { [.column, .index, .grant].contains($0.object.kind) })
        #expect(after.fingerprint == wanted.fingerprint)
    }

    @Test func `an identity that is repaired goes on behind the rows`() async throws {
        let server = try PostgresServer.start()
        let wanted = try await template(server)
        let connection = try await copy(server, "counted")
        defer { connection.close() }
        let drift = DriftCase(
            "identity", "alter table public.reactions alter column id drop identity")
        try await connection.script(
            """
            insert into public.rooms (room_id) values ('r');
            insert into public.reactions (room_id, id) overriding system value values ('r', 41);
            """ + drift.sql, deadline: soon)

        let found = try await SchemaSnapshot.read(connection, deadline: soon)
        let differences = SchemaDifference.differences(found: found, wanted: wanted)
        try await repair(differences, connection, drift)
        let next: Int = try await connection.query(
            "insert into public.reactions (room_id) values ('r') returning id", deadline: soon)[0]
            .get(0)

        #expect(next == 42)
    }

    @Test func `repairs build a whole application, odd names and all`() async throws {
        let server = try PostgresServer.start()
        _ = try await template(server)
        let full = try await copy(server, "complete")
        defer { full.close() }
        try await full.script(Self.oddities, deadline: soon)
        let root = try await connect(server, "postgres")
        defer { root.close() }
        try await root.script("create database bare", deadline: soon)
        let bare = try await connect(server, "bare")
        defer { bare.close() }
        _ = try await Migrator(kind: .shard, migrations: Array(try files().dropLast()))
            .up(bare)

        let wanted = try await SchemaSnapshot.read(full, deadline: soon)
        let found = try await SchemaSnapshot.read(bare, deadline: soon)
        let differences = SchemaDifference.differences(found: found, wanted: wanted)
        try await repair(differences, bare, DriftCase("application", ""))
        let after = try await SchemaSnapshot.read(bare, deadline: soon)
        let fingerprint = try await SchemaSnapshot.fingerprint(bare, deadline: soon)

        let rest = SchemaDifference.differences(found: after, wanted: wanted)
        #expect(rest.map(\.repair) == [])
        #expect(fingerprint == wanted.fingerprint)
    }

    private static let oddities = """
        create schema "Odd ""Schema";
        create table "Odd ""Schema"."Tab le" (
            "select" integer generated by default as identity (start with -7 increment by -1),
            "a,b" text[] default '{"x"}', c varchar(10) collate "de-x-icu", d timestamp(3),
            e double precision unique nulls not distinct, primary key ("select"))
            with (fillfactor = 80, autovacuum_enabled = off);
        create unique index "in dex" on "Odd ""Schema"."Tab le"
            (c collate "C" desc nulls last) include (d) where e > 0;
        create view "Odd ""Schema".v as select "select" from "Odd ""Schema"."Tab le"
            where "select" > 0 with local check option;
        create function "Odd ""Schema".f(in a integer, out b integer, variadic c text[])
            language sql begin atomic select 1; end;
        create function "Odd ""Schema".instead() returns trigger language plpgsql
            as $_$ begin perform '$$', ';'; return new; end $_$;
        create trigger "trig ger" instead of insert on "Odd ""Schema".v
            for each row execute function "Odd ""Schema".instead('a', 'b');
        create constraint trigger late after insert on "Odd ""Schema"."Tab le"
            deferrable initially deferred for each row execute function public.watch();
        create trigger many after insert on "Odd ""Schema"."Tab le"
            referencing new table as fresh for each statement execute function public.watch();
        create role "Odd Role";
        grant select ("select"), update ("a,b") on "Odd ""Schema"."Tab le" to "Odd Role";
        grant usage on schema "Odd ""Schema" to "Odd Role" with grant option;
        create policy p on "Odd ""Schema"."Tab le" as restrictive for insert
            to "Odd Role", chat_app with check (true);
        alter table "Odd ""Schema"."Tab le" force row level security;
        alter table "Odd ""Schema"."Tab le" replica identity using index "Tab le_pkey";
        create type "Odd ""Schema".e as enum ('it''s', 'a, b', '');
        create domain "Odd ""Schema".d as numeric(6, 2) default 1 not null
            check (value > 0) check (value < 9);
        create table "Odd ""Schema".parted (id bigint, kind "Odd ""Schema".e, n "Odd ""Schema".d)
            partition by list (kind);
        create table "Odd ""Schema".part partition of "Odd ""Schema".parted for values in ('it''s');
        create table "Odd ""Schema".rest partition of "Odd ""Schema".parted default;
        create index on "Odd ""Schema".parted (id);
        create procedure "Odd ""Schema".p(inout x integer) language plpgsql
            set work_mem = '8MB' as 'begin x := 1; end';
        create function "Odd ""Schema".w() returns integer language internal window as
            'window_row_number';
        """

    private func repair(
        _ differences: [SchemaDifference], _ connection: PostgresConnection, _ drift: DriftCase
    ) async throws {
        for difference in differences {
            #expect(difference.losesData == drift.losesData, "\(drift.name)")
            let script = try SQLSplitter.statements(of: difference.repair).map(\.text)
            #expect(script.isEmpty || !difference.losesData, "\(drift.name)")
            for statement in difference.losesData ? difference.statements : script {
                try await run(statement, connection, drift)
            }
        }
    }

    private func run(
        _ statement: String, _ connection: PostgresConnection, _ drift: DriftCase
    ) async throws {
        do throws(PostgresError) {
            try await connection.script(statement, deadline: soon)
        } catch {
            Issue.record("\(drift.name): \(statement): \(error)")
        }
    }

    private func words(_ difference: SchemaDifference) -> String {
        switch difference.change {
        case .missing: "missing \(difference.object)"
        case .extra: "extra \(difference.object)"
        case .changed: "changed \(difference.object)"
        }
    }

    /// The database `wanted` with all files, and what it looks like.
    private func template(_ server: PostgresServer) async throws -> SchemaSnapshot {
        let root = try await connect(server, "postgres")
        defer { root.close() }
        try await root.script("create role stranger", deadline: soon)
        try await root.script("create database wanted", deadline: soon)
        let connection = try await connect(server, "wanted")
        defer { connection.close() }
        _ = try await Migrator(kind: .shard, migrations: try files())
            .up(connection)
        return try await SchemaSnapshot.read(connection, deadline: soon)
    }

    private func copy(_ server: PostgresServer, _ name: String) async throws -> PostgresConnection {
        let root = try await connect(server, "postgres")
        defer { root.close() }
        try await root.script(
            "create database \(name) template wanted strategy file_copy", deadline: soon)
        return try await connect(server, name)
    }

    private func files() throws -> [Migration] {
        let folder = Databases.migrations.appending(path: "shard")
        return try MigrationFiles(folder: folder).load() + [
            Migration(
                version: 1_001, title: "application", checksum: "a",
                up: try MigrationScript(
                    file: "1001_application.up.sql", sql: DriftCase.application))
        ]
    }

    private func connect(
        _ server: PostgresServer, _ database: String, user: String = "postgres"
    ) async throws -> PostgresConnection {
        try await .connect(
            try ConnectionSettings(
                "host=127.0.0.1 port=\(server.port) user=\(user) dbname=\(database)"),
            deadline: soon)
    }
}
