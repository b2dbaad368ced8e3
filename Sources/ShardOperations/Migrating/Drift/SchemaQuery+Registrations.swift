extension SchemaQuery {
    /// The rows of `shard.tables`: a table that is not there stays behind when its rooms move.
    ///
    /// By way of XML, because a statement that names a table which does not exist fails as a whole,
    /// and a catalog has none.
    static let registrations: [SchemaPart] = [
        SchemaPart(
            kind: .registration,
            from: """
                unnest(xpath('/table/row/table_name/text()', case
                    when to_regclass('shard.tables') is not null then query_to_xml(
                        'select table_name from shard.tables order by 1', true, false, '') end))
                    as x (node)
                cross join lateral (select x.node::text as name) m
                """, name: "m.name", definition: "'registered'", parent: "'table ' || m.name",
            creation: "array[format('select shard.register_table(%L)', m.name)]",
            removal: "array[format('delete from shard.tables where table_name = %L', m.name)]")
    ]
}
