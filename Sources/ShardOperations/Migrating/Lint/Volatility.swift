/// Whether the default of a new column has one value for all rows, or one for each.
enum Volatility {
    /// What each row needs anew, of PostgreSQL's own functions and those of its extensions.
    static let volatile: Set<String> = [
        "random", "random_normal", "gen_random_uuid", "uuid_generate_v1", "uuid_generate_v1mc",
        "uuid_generate_v4", "clock_timestamp", "timeofday", "nextval",
        "setval", "currval", "lastval", "pg_sleep", "gen_random_bytes", "gen_salt", "set_config",
        "pg_backend_random", "setseed",
    ]

    /// What is computed once for the statement.
    static let stable: Set<String> = [
        "now", "transaction_timestamp", "statement_timestamp", "current_setting", "date_trunc",
        "lower", "upper", "length", "octet_length", "md5", "sha256", "concat", "concat_ws",
        "format", "replace", "substr", "substring", "left", "right", "trim", "btrim", "coalesce",
        "abs", "floor", "ceil", "round", "timezone", "date_part", "extract", "to_char",
        "to_timestamp", "to_date", "make_date", "make_interval", "make_timestamptz", "age",
        "jsonb_build_object", "json_build_object", "jsonb_build_array", "to_jsonb", "to_json",
        "array_fill", "encode", "decode", "repeat", "lpad", "rpad", "int4range", "int8range",
        "tstzrange", "daterange", "numrange", "hashtext", "hashtextextended", "txid_current",
        "pg_current_xact_id", "current_database", "current_schema", "inet_server_addr", "power",
        "sqrt", "mod", "chr", "ascii", "split_part", "regexp_replace", "starts_with",
    ]

    /// What filling a column with `value` means for a table with rows.
    static func rewrite(of value: SyntaxTree, _ facts: SchemaFacts) -> StatementEffect.Rewrite {
        var result = StatementEffect.Rewrite.no
        value.visit { node in
            guard let name = node["FuncCall"]?["funcname"]?.names.last, result != .yes else {
                return
            }
            if facts.volatileSQLFunctions.contains(name) {
                result = .depends(on: "whether the SQL of the function \(name) is one constant")
            } else if volatile.contains(name) || facts.volatileFunctions?.contains(name) == true {
                result = .yes
            } else if !stable.contains(name), facts.volatileFunctions == nil {
                result = .depends(on: "whether the function \(name) is volatile")
            }
        }
        return result
    }
}
