extension DriftCase {
    /// Of the list of tables that move with their rooms.
    static let registrations = [
        DriftCase(
            "a table is not registered",
            "delete from shard.tables where table_name = 'public.messages'",
            "missing registration public.messages"),
        DriftCase(
            "a table is registered that is none",
            "insert into shard.tables (table_name) values ('public.nothing')",
            "extra registration public.nothing"),
        DriftCase(
            "a table is registered that moves nothing",
            "insert into shard.tables (table_name) values ('public.notes')",
            "extra registration public.notes"),
    ]
}
