import Postgres

/// Looks at a database to find out whether a statement that cannot run in a transaction has run.
struct StepInspection: Sendable {
    enum Finding: Sendable, Equatable {
        /// It has to run.
        case absent
        /// What it makes is there and complete.
        case done
        /// It was stopped in the middle; this removes, or completes, what is left.
        case leftover(mend: [String], isDoneThen: Bool)
        /// Something else has the name.
        case different(String)
        /// Nothing tells.
        case unknown
    }

    let connection: PostgresConnection
    let deadline: ContinuousClock.Instant

    func look(_ step: MigrationStep) async throws(PostgresError) -> Finding {
        switch step {
        case .makesIndex(let index): try await look(index)
        case .dropsIndexes(let names): try await look(dropped: names)
        case .rebuilds: try await lookForCopies()
        case .detaches(let partition, let parent): try await look(partition, parent)
        case .plain, .repeatable: .absent
        case .opaque, .controlsTransaction, .givesRows: .unknown
        }
    }

    private func look(_ index: MigrationStep.MadeIndex) async throws(PostgresError) -> Finding {
        guard let name = index.name else {
            return .different(
                "an index that is made concurrently needs a name, so that it can be found again")
        }
        let found = try await connection.query(
            """
            select i.indexrelid is not null, coalesce(i.indisvalid and i.indisready, false),
                coalesce(i.indrelid = t.oid, false), coalesce(i.indisunique, false),
                coalesce(substring(pg_get_indexdef(c.oid) from ' USING .*'), ''),
                format('%I.%I', n.nspname, c.relname)
            from pg_class t
            join pg_class c on c.relnamespace = t.relnamespace and c.relname = $2
            join pg_namespace n on n.oid = c.relnamespace
            left join pg_index i on i.indexrelid = c.oid
            where t.oid = to_regclass($1)
            """, [index.table.quoted, name], deadline: deadline)
        guard let row = found.first else { return .absent }
        let (isIndex, isValid, isSameTable): (Bool, Bool, Bool) = (
            try row.get(0), try row.get(1), try row.get(2)
        )
        let (isUnique, definition, full): (Bool, String, String) = (
            try row.get(3), try row.get(4), try row.get(5)
        )
        guard isIndex, isSameTable else {
            return .different("\(full) exists and is no index of \(index.table)")
        }
        // An invalid one, too: what was stopped, or is still at work, may be somebody else's.
        let wanted = try await definitionOnEmptyTable(index, name)
        guard isUnique == index.isUnique, definition == wanted else {
            return .different(
                "index \(full) exists, but is\(isValid ? "" : " invalid and")"
                    + "\(isUnique ? " unique" : "")\(definition) instead of"
                    + "\(index.isUnique ? " unique" : "")\(wanted)")
        }
        return isValid
            ? .done : .leftover(mend: ["drop index concurrently \(full)"], isDoneThen: false)
    }

    /// PostgreSQL's own words for the index, from a table without rows that looks the same: so casts
    /// and defaults stand where it puts them.
    private func definitionOnEmptyTable(
        _ index: MigrationStep.MadeIndex, _ name: String
    ) async throws(PostgresError) -> String {
        let table = "pg_temp.\(quotedName(index.table.name))"
        let answers: [Rows]
        do throws(PostgresError) {
            answers = try await connection.pipeline(
                [
                    "begin",
                    "create temp table \(quotedName(index.table.name)) "
                        + "(like \(index.table.quoted))",
                    "create \(index.isUnique ? "unique " : "")index \(quotedName(name)) "
                        + "on \(table)\(index.rest)",
                    "select substring(pg_get_indexdef(indexrelid) from ' USING .*') from pg_index "
                        + "where indrelid = '\(table.replacing("'", with: "''"))'::regclass",
                    "rollback",
                ].map { Statement($0, isPrepared: false) }, deadline: deadline)
        } catch {
            if connection.isInTransaction {
                _ = try await connection.query("rollback", deadline: deadline)
            }
            throw error
        }
        return try answers[3][0].get(0)
    }

    private func look(dropped names: [RelationName]) async throws(PostgresError) -> Finding {
        for name in names {
            let exists: Bool = try await connection.query(
                "select to_regclass($1) is not null", [name.quoted], deadline: deadline)[0].get(0)
            if exists { return .absent }
        }
        return .done
    }

    /// Indexes that a stopped REINDEX CONCURRENTLY left behind; its manual page says to drop them.
    private func lookForCopies() async throws(PostgresError) -> Finding {
        let drops: [String] = try await connection.query(
            """
            select coalesce(array_agg(
                format('drop index concurrently %I.%I', n.nspname, c.relname) order by c.oid), '{}')
            from pg_index i join pg_class c on c.oid = i.indexrelid
            join pg_namespace n on n.oid = c.relnamespace
            where not i.indisvalid and c.relname ~ '_cc(new|old)[0-9]*$'
                and n.nspname <> 'pg_toast'
            """, deadline: deadline)[0].get(0)
        return drops.isEmpty ? .absent : .leftover(mend: drops, isDoneThen: false)
    }

    private func look(
        _ partition: RelationName, _ parent: RelationName
    ) async throws(PostgresError) -> Finding {
        let isPending: Bool? = try await connection.query(
            """
            select bool_or(inhdetachpending) from pg_inherits
            where inhrelid = to_regclass($1) and inhparent = to_regclass($2)
            """, [partition.quoted, parent.quoted], deadline: deadline)[0].get(0)
        guard let isPending else { return .done }
        let finish =
            "alter table \(parent.quoted) detach partition \(partition.quoted) finalize"
        return isPending ? .leftover(mend: [finish], isDoneThen: true) : .absent
    }
}
