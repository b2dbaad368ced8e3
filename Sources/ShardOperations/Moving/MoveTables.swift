import Postgres

/// A registered table as a move copies, compares and purges it.
struct MoveTable: Sendable, Equatable {
    struct Column: Sendable, Equatable {
        var name: String
        var type: String
        /// Whether the server's own hash of the value covers every byte of it.
        var isHashedWhole: Bool
        var isText: Bool
    }

    /// Schema and name, quoted.
    var name: String
    /// As PostgreSQL calls it in its log.
    var schemaName: String
    var tableName: String
    /// Without generated ones, in their order.
    var columns: [Column]
    /// The columns of the replica identity; empty where the whole row is the identity.
    var key: [Column]
    /// The columns of an index that begins with `room_id`; nil where there is none and rooms are
    /// found by reading the whole table.
    var roomIndex: [String]?
    /// The server's estimate.
    var estimatedRows: Int64
    /// The number of its file. TRUNCATE, which no subscription is told of, gives it another one.
    var file: Int64

    /// As ``ChangeWatch`` names it.
    var logName: String { "\(sqlName(schemaName)).\(sqlName(tableName))" }

    var columnList: String { columns.map { sqlName($0.name) }.joined(separator: ", ") }

    /// The order in which rows are copied: what the target's indexes like best.
    var order: String {
        (roomIndex ?? ["room_id"]).map { "t." + sqlName($0) }.joined(separator: ", ")
    }

    /// A 64-bit number in SQL that changes with any byte of the row `t`.
    ///
    /// Types whose equality is looser than their bytes, and those without a hash, go by their text;
    /// text goes by its bytes, whatever its collation.
    var rowHash: String {
        let values = columns.map { column in
            let value = "t.\(sqlName(column.name))"
            if column.isText { return "\(value) collate \"C\"" }
            return column.isHashedWhole ? value : "\(value)::text collate \"C\""
        }
        return "hash_record_extended(row(\(values.joined(separator: ", "))), 0)"
    }

    /// The registered tables of the shard behind `connection`.
    static func read(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws -> [MoveTable] {
        let rows = try await connection.query(sql, deadline: deadline)
        return try rows.map { row in
            let names: [String] = try row.get("columns")
            let types: [String] = try row.get("types")
            let exact: [Bool] = try row.get("exact")
            let texts: [Bool] = try row.get("texts")
            let columns = names.indices.map {
                Column(
                    name: names[$0], type: types[$0], isHashedWhole: exact[$0], isText: texts[$0])
            }
            let keys: [String] = try row.get("keys", as: [String]?.self) ?? []
            return MoveTable(
                name: try row.get("name"), schemaName: try row.get("schema_name"),
                tableName: try row.get("table_name"), columns: columns,
                key: columns.filter { keys.contains($0.name) },
                roomIndex: try row.get("room_index"),
                estimatedRows: try row.get("estimated_rows"), file: try row.get("file"))
        }
    }

    /// The first of `tables` that was emptied or rewritten since they were read.
    static func rewritten(
        _ tables: [MoveTable], _ connection: PostgresConnection,
        deadline: ContinuousClock.Instant
    ) async throws -> MoveTable? {
        let rows = try await connection.query(
            """
            select format('%I.%I', n.nspname, c.relname), pg_relation_filenode(c.oid)::int8
            from shard.tables r
            join pg_class c on c.oid = r.table_name::regclass
            join pg_namespace n on n.oid = c.relnamespace
            """, deadline: deadline)
        var files: [String: Int64] = [:]
        for row in rows { files[try row.get(0)] = try row.get(1) }
        return tables.first { files[$0.name] != $0.file }
    }

    private static let sql = """
        select format('%I.%I', n.nspname, c.relname) as name, n.nspname::text as schema_name,
            c.relname::text as table_name, greatest(c.reltuples, 0)::int8 as estimated_rows,
            pg_relation_filenode(c.oid)::int8 as file,
            a.columns, a.types, a.exact, a.texts,
            (select array_agg(k.attname::text order by k.attnum) from pg_index i
             join pg_attribute k on k.attrelid = c.oid and k.attnum = any (i.indkey)
             where i.indrelid = c.oid
                and (c.relreplident = 'd' and i.indisprimary
                    or c.relreplident = 'i' and i.indisreplident)) as keys,
            (select array_agg(k.attname::text order by x.place)
             from (select i.indkey from pg_index i join pg_class ic on ic.oid = i.indexrelid
                   join pg_am am on am.oid = ic.relam
                   where i.indrelid = c.oid and am.amname = 'btree' and i.indisvalid
                       and i.indpred is null and not 0 = any (i.indkey)
                       and (select f.attname from pg_attribute f
                            where f.attrelid = c.oid and f.attnum = i.indkey[0]) = 'room_id'
                   order by i.indisprimary desc, i.indisunique desc, ic.oid limit 1) best,
                unnest(best.indkey::int2[]) with ordinality as x (attnum, place)
             join pg_attribute k on k.attrelid = c.oid and k.attnum = x.attnum) as room_index
        from shard.tables r
        join pg_class c on c.oid = r.table_name::regclass
        join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (
            select array_agg(t.attname::text order by t.attnum) as columns,
                array_agg(format_type(t.atttypid, t.atttypmod) order by t.attnum) as types,
                array_agg(t.atttypid in ('bool'::regtype, 'int2'::regtype, 'int4'::regtype,
                    'int8'::regtype, 'uuid'::regtype, 'timestamptz'::regtype,
                    'timestamp'::regtype, 'date'::regtype, 'bytea'::regtype)
                    order by t.attnum) as exact,
                array_agg(t.atttypid in ('text'::regtype, 'varchar'::regtype)
                    order by t.attnum) as texts
            from pg_attribute t
            where t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped
                and t.attgenerated = '') a
        order by 1
        """
}

/// An identifier for SQL.
func sqlName(_ name: String) -> String {
    "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"")
        + "\""
}

/// A text for SQL.
func literal(_ text: String) -> String {
    let doubled = text.split(separator: "'", omittingEmptySubsequences: false)
        .joined(separator: "''")
    let isPlain = !doubled.utf8.contains(UInt8(ascii: "\\"))
    guard !isPlain else { return "'\(doubled)'" }
    return "E'"
        + doubled.split(separator: "\\", omittingEmptySubsequences: false)
        .joined(separator: "\\\\") + "'"
}

/// An array of texts for SQL.
func literal(_ texts: [String]) -> String {
    "array[\(texts.map { literal($0) }.joined(separator: ","))]::text[]"
}
