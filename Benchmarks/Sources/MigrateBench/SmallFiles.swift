/// Twenty small migrations of an application: five times a table, a column, an index and a function.
enum SmallFiles {
    /// Everything of them is in a schema of its own, which the bench makes and drops.
    static let undo = "drop schema if exists app cascade; create schema app"

    static let all: [MigrationText] = (0..<5).flatMap { round in
        let table = "app.notes_\(round)"
        let first = 1_001 + 4 * round
        return [
            MigrationText(
                name: "\(first)_table_\(round)",
                sql: """
                    create table \(table) (
                        id uuid primary key,
                        title text not null,
                        made_at timestamptz not null default now()
                    );
                    """),
            MigrationText(
                name: "\(first + 1)_column_\(round)",
                sql: "alter table \(table) add column author text not null default '';"),
            MigrationText(
                name: "\(first + 2)_index_\(round)",
                sql: "create index notes_\(round)_made_at on \(table) (made_at);"),
            MigrationText(
                name: "\(first + 3)_function_\(round)",
                sql: """
                    create function app.count_\(round)(since timestamptz) returns bigint
                    language sql stable
                    begin atomic
                        select count(*) from \(table) where made_at >= since;
                    end;
                    """),
        ]
    }
}
