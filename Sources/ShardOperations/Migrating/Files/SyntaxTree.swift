import CPgQuery
import Glibc

/// A part of PostgreSQL's own parse tree, by the names of its source (`parsenodes.h`).
enum SyntaxTree: Sendable, Equatable {
    case object([String: SyntaxTree])
    case list([SyntaxTree])
    case text(String)
    case number(Int)
    case flag(Bool)
    case nothing

    /// The parser's own version: a statement that is newer cannot be read.
    static let version = PG_MAJORVERSION

    /// The tree of one statement.
    ///
    /// - Throws: ``SQLProblem`` for what PostgreSQL ``version`` would call a syntax error; its line
    ///   counts from the statement's own.
    static func statement(_ statement: SQLStatement) throws(SQLProblem) -> SyntaxTree {
        let result = pg_query_parse(statement.text)
        defer { pg_query_free_parse_result(result) }
        if let error = result.error {
            let position = max(0, Int(error.pointee.cursorpos) - 1)
            let lines = statement.text.unicodeScalars.prefix(position).count { $0 == "\n" }
            throw SQLProblem(
                line: statement.line + lines, what: String(cString: error.pointee.message))
        }
        let bytes = UnsafeBufferPointer(
            start: result.parse_tree, count: strlen(result.parse_tree)
        ).map { UInt8(bitPattern: $0) }
        let tree = SyntaxTreeReader.tree(bytes)
        guard let all = tree["stmts"]?.list, all.count == 1, let one = all[0]["stmt"] else {
            throw SQLProblem(line: statement.line, what: "this is not one statement")
        }
        return one
    }

    /// The value under `key`; nil where it is absent, or this is no object.
    subscript(_ key: String) -> SyntaxTree? {
        if case .object(let object) = self { object[key] } else { nil }
    }

    /// What a node is, such as `IndexStmt`: nodes are objects with that one key.
    var kind: String? {
        if case .object(let object) = self, object.count == 1 { object.keys.first } else { nil }
    }

    /// The fields of a node: what stands under its ``kind``.
    var fields: SyntaxTree? { kind.flatMap { self[$0] } }

    var list: [SyntaxTree] { if case .list(let list) = self { list } else { [] } }
    var text: String? { if case .text(let text) = self { text } else { nil } }
    var number: Int? { if case .number(let number) = self { number } else { nil } }
    /// An absent flag is false.
    func isSet(_ key: String) -> Bool { self[key] == .flag(true) }

    /// The texts of a list of `String` nodes, such as the parts of a name.
    var names: [String] { list.compactMap { $0["String"]?["sval"]?.text } }

    /// The relation under `key`.
    func relation(_ key: String = "relation") -> RelationName? {
        guard let range = self[key], let name = range["relname"]?.text else { return nil }
        return RelationName(schema: range["schemaname"]?.text, name: name)
    }

    /// Visits this and everything below it.
    func visit(_ body: (SyntaxTree) -> Void) {
        body(self)
        switch self {
        case .object(let object): for value in object.values { value.visit(body) }
        case .list(let list): for value in list { value.visit(body) }
        case .text, .number, .flag, .nothing: break
        }
    }
}

/// A table, index or view as a statement names it.
struct RelationName: Sendable, Hashable, CustomStringConvertible {
    /// nil where the statement leaves it to the search path.
    var schema: String?
    var name: String

    /// As `register_table` writes it: what has no schema is in `public`.
    var full: String { "\(schema ?? "public").\(name)" }
    var description: String { schema.map { "\($0).\(name)" } ?? name }
}
