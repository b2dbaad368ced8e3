import Postgres
import TestKit
import Testing

@testable import ShardOperations

@Suite struct StatementEffectTests {
    private var soon: ContinuousClock.Instant { .now + .seconds(60) }

    /// What a statement did, as the server tells it.
    private struct Observation {
        var locks: [StatementEffect.Lock]
        var isRewritten: Bool
        var isScanned: Bool
    }

    /// The state of one relation before or after a statement.
    private struct Relation {
        var kind: String
        var file: UInt32?
        var scans: Int
        var rows: Bool
    }

    @Test func `every prediction is what PostgreSQL does`() async throws {
        let server = try PostgresServer.start()
        let connection = try await prepared(server)
        defer { connection.close() }
        let facts = try await SchemaFacts.read(connection, deadline: soon)

        for sql in EffectCases.all {
            let predicted = StatementEffect.of(
                try SyntaxTree.statement(SQLStatement(text: sql)), facts: facts)
            let seen = try await observe(sql, predicted, connection)
            #expect(predicted.locks == seen.locks, "\(sql)")
            #expect(predicted.canRunInTransaction, "\(sql)")
            if case .depends = predicted.rewrites { continue }
            #expect((predicted.rewrites == .yes) == seen.isRewritten, "rewrite of \(sql)")
            if EffectCases.rows.contains(sql) { continue }
            #expect(predicted.scans == seen.isScanned, "scan of \(sql)")
        }
    }

    @Test func `without facts nothing is predicted weaker than it is`() async throws {
        let server = try PostgresServer.start()
        let connection = try await prepared(server)
        defer { connection.close() }
        let facts = try await SchemaFacts.read(connection, deadline: soon)

        for sql in EffectCases.columns + EffectCases.types {
            let tree = try SyntaxTree.statement(SQLStatement(text: sql))
            let known = StatementEffect.of(tree, facts: facts)
            let blind = StatementEffect.of(tree)
            #expect(blind.strongestLock == known.strongestLock, "\(sql)")
            #expect(blind.scans || !known.scans || known.rewrites != .no, "\(sql)")
            #expect(blind.rewrites != .no || known.rewrites != .yes || sql.contains("positive"))
        }
    }

    @Test func `what cannot run in a transaction is known`() async throws {
        let server = try PostgresServer.start()
        let connection = try await prepared(server)
        defer { connection.close() }

        for sql in EffectCases.outsideTransactions {
            let predicted = StatementEffect.of(try SyntaxTree.statement(SQLStatement(text: sql)))
            #expect(!predicted.canRunInTransaction, "\(sql)")
            try await connection.script("begin", deadline: soon)
            let failure = await #expect(throws: PostgresError.self, "\(sql)") {
                try await connection.script(sql, deadline: soon)
            }
            #expect(failure?.sqlState == "25001", "\(sql): \(String(describing: failure))")
            try await connection.script("rollback", deadline: soon)
        }
    }

    @Test func `what is said of PostgreSQL's own functions is what it says itself`() async throws {
        let server = try PostgresServer.start()
        let connection = try await prepared(server)
        defer { connection.close() }

        let rows = try await connection.query(
            """
            select proname::text as name, bool_or(provolatile = 'v') as is_volatile from pg_proc
            where pronamespace = 'pg_catalog'::regnamespace group by 1
            """, deadline: soon)

        for row in rows {
            let name: String = try row.get("name")
            let isVolatile: Bool = try row.get("is_volatile")
            if Volatility.stable.contains(name) { #expect(!isVolatile, "\(name)") }
            if Volatility.volatile.contains(name) { #expect(isVolatile, "\(name)") }
        }
    }

    @Test func `facts tell types, constraints, indexes and registered tables`() async throws {
        let server = try PostgresServer.start()
        let connection = try await prepared(server)
        defer { connection.close() }
        try await connection.script(
            """
            create schema shard; create table shard.tables (table_name text primary key);
            insert into shard.tables values ('public.notes');
            """, deadline: soon)

        let facts = try await SchemaFacts.read(connection, deadline: soon)

        let notes = try #require(facts.relations["public.notes"])
        #expect(notes.columns["body"]?.type == ColumnType("varchar", [20]))
        #expect(notes.columns["price"]?.type == ColumnType("numeric", [10, 2]))
        #expect(notes.constraints["notes_parent"]?.references == "public.parent")
        #expect(notes.constraints["notes_again"]?.isValid == false)
        #expect(facts.isProvenNotNull("public.notes", "amount"))
        #expect(facts.indexes["public.bare_c"]?.table == "public.bare")
        #expect(facts.registered == ["public.notes"])
        #expect(facts.domains["positive"]?.isConstrained == true)
        #expect(facts.stored(ColumnType("plain")) == ColumnType("int4"))
        #expect(facts.children["public.parted"] == ["public.parted_1"])
        #expect(facts.viewsOnViews("public.bare") == ["public.glance", "public.summary"])
        #expect(facts.isTiny("public.bare"))
        #expect(!facts.isTiny("public.absent"))
    }

    private func prepared(_ server: PostgresServer) async throws -> PostgresConnection {
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString(database: "postgres")),
            deadline: soon)
        for sql in [
            EffectCases.schema, "set allow_in_place_tablespaces = on",
            "create tablespace spare location ''", "set timezone = 'Europe/Berlin'",
            "create access method heap2 type table handler heap_tableam_handler",
            "create schema elsewhere",
        ] {
            try await connection.script(sql, deadline: soon)
        }
        return connection
    }

    private func observe(
        _ sql: String, _ predicted: StatementEffect, _ connection: PostgresConnection
    ) async throws -> Observation {
        try await connection.script("begin", deadline: soon)
        let before = try await relations(connection)
        do {
            try await connection.script(sql, deadline: soon)
        } catch {
            Issue.record("\(sql) failed: \(error)")
            try await connection.script("rollback", deadline: soon)
            return Observation(locks: [], isRewritten: false, isScanned: false)
        }
        let locks = try await connection.query(
            """
            select relation::int8 as relation, mode from pg_locks
            where pid = pg_backend_pid() and locktype = 'relation' and granted
            """, deadline: soon)
        let after = try await relations(connection)
        try await connection.script("rollback", deadline: soon)

        var strongest: [String: LockLevel] = [:]
        for row in locks {
            guard let (name, relation) = before[try row.get("relation")],
                let level = LockLevel(mode: try row.get("mode"))
            else { continue }
            let isNamed = predicted.locks.contains { $0.relation == name }
            // A refresh reads what its query names, which is not in the statement.
            let isRead = sql.hasPrefix("refresh") && level == .accessShare
            guard isNamed || ("rpmv".contains(relation.kind) && !isRead) else { continue }
            strongest[name] = max(strongest[name] ?? .accessShare, level)
        }
        // An emptied table has a new file, too, but nothing was written into it.
        let rewritten = before.contains { oid, old in
            after[oid].map { $0.1.file != old.1.file && $0.1.rows && old.1.file != nil } ?? false
        }
        let scanned = before.contains { oid, old in
            after[oid].map { $0.1.rows && $0.1.scans > old.1.scans } ?? false
        }
        return Observation(
            locks: strongest.sorted { $0.key < $1.key }
                .map { StatementEffect.Lock(relation: $0.key, level: $0.value) },
            isRewritten: rewritten, isScanned: scanned || rewritten)
    }

    private func relations(
        _ connection: PostgresConnection
    ) async throws -> [Int: (String, Relation)] {
        let rows = try await connection.query(
            """
            select c.oid::int8 as oid, n.nspname || '.' || c.relname as name,
                c.relkind::text as kind, pg_relation_filenode(c.oid)::int8 as file,
                pg_stat_get_xact_numscans(c.oid) as scans,
                c.relkind in ('r', 'm') and pg_relation_size(c.oid) > 0 as has_rows
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in ('public', 'elsewhere')
            """, deadline: soon)
        var result: [Int: (String, Relation)] = [:]
        for row in rows {
            let file: Int? = try row.get("file")
            result[try row.get("oid")] = (
                try row.get("name"),
                Relation(
                    kind: try row.get("kind"), file: file.map { UInt32($0) },
                    scans: try row.get("scans"), rows: try row.get("has_rows"))
            )
        }
        return result
    }
}
