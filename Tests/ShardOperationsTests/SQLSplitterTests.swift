import CPgQuery
import TestKit
import Testing

@testable import ShardOperations

@Suite struct SQLSplitterTests {
    @Test(arguments: [
        // The old line end of the Macintosh ends a comment.
        ("-- makes y\rcreate table y ();\r", ["create table y ()"]),
        (
            #"select E'it''s \'; drop table notes; --'; select 2"#,
            [#"select E'it''s \'; drop table notes; --'"#, "select 2"]
        ),
        ("select E'a'\n  'b\\'c;'; select 2", ["select E'a'\n  'b\\'c;'", "select 2"]),
        (#"select E'a' ; select '\'"#, ["select E'a'", #"select '\'"#]),
    ])
    func `ends of comments and of strings are those of the server`(
        text: String, pieces: [String]
    ) throws {
        #expect(try SQLSplitter.statements(of: text).map(\.text) == pieces)
    }

    @Test func `a NUL byte is refused with its line`() {
        let problem = #expect(throws: SQLProblem.self) {
            try SQLSplitter.statements(of: "select 1;\nselect 2\0, 3;")
        }
        #expect(problem?.line == 2)
    }

    @Test(arguments: [
        "select 'a;b'", "select 'it''s; fine'", "select 'a\\'", "select E'a\\';b'",
        "select e'\\\\'", "select \"a;b\"", "select \"a\"\";b\"", "select U&'\\0061;'",
        "select $$a;b$$", "select $tag$ a; $$ b; $other$ c; $tag$", "select $1, 'x;'",
        "select a$b$c from t$x$", "select 1 -- a; b\n + 2", "select 1 /* a; b */ + 2",
        "select /* a /* b; */ c; */ 1", "select '/*', 2", "select '--', 2",
        "create rule r as on insert to t do also (insert into a values (1); select 2)",
        "create function f() returns int begin atomic select 1; select 2; end",
        """
        create function f(a int) returns int language sql begin atomic
            select case when a > 0 then case a when 1 then 2 end else 3 end; select 4; end
        """,
        "create procedure p() begin atomic insert into t values (1); end",
        "do $$ begin if true then perform 1; end if; end $$", "select 'a\nb;\nc'",
        "select B'101', X'1F', N'x;'", "select 'a'\n 'b;'", "select 1;",
    ])
    func `a semicolon ends a statement only where PostgreSQL says so`(sql: String) throws {
        let one = sql.hasSuffix(";") ? sql : sql + ";"
        let pieces = try SQLSplitter.statements(of: one + "\nselect 'last'")

        #expect(pieces.map(\.text) == (try parserPieces(of: one + "\nselect 'last'")))
    }

    @Test func `statements know their lines and comments`() throws {
        let sql = """
            -- shardctl: transaction=off
            /* a block
               of lines */
            create table t (a int);  -- after
            -- before the second
            select
                'a
            b' -- inside
            ;
            select 3
            """

        let pieces = try SQLSplitter.statements(of: sql)

        #expect(pieces.map(\.line) == [4, 6, 10])
        #expect(pieces[0].text == "create table t (a int)")
        #expect(pieces[0].comments == ["shardctl: transaction=off"])
        #expect(pieces[1].comments == ["after", "before the second", "inside"])
        #expect(pieces[2].comments.isEmpty)
    }

    @Test func `the rows of a COPY belong to it`() throws {
        let sql = """
            copy t (a, b) from stdin;
            1\t'not; a quote
            \\\\.\t$$

            \\.
            copy u from stdin with (format csv);
            \\.
            copy t to stdout;
            copy (select 1 from stdin) to stdout;
            select 1;
            """

        let pieces = try SQLSplitter.statements(of: sql)

        #expect(
            pieces.map(\.copyData) == ["1\t'not; a quote\n\\\\.\t$$\n\n", "", nil, nil, nil])
        #expect(pieces.map(\.line) == [1, 6, 8, 9, 10])
    }

    @Test(arguments: [
        ("select 1;\nselect 'open", 2, "quote"), ("select \"open", 1, "quote"),
        ("\n\nselect $a$ open $b$", 3, "$a$"), ("select 1;\n/* a /* b */", 2, "comment"),
        ("select (1\n;select 2", 1, "parenthesis"), ("select 1);", 1, "parenthesis"),
        ("\ncreate function f() returns int begin atomic select 1;", 2, "ATOMIC"),
        ("select 1;\n\\connect other", 2, "psql"), ("copy t from stdin;\n1\n", 1, "COPY"),
        ("select E'a\\'", 1, "quote"), ("copy t from stdin;", 1, "COPY"),
    ])
    func `what has no end is told with its line`(sql: String, line: Int, word: String) {
        let problem = #expect(throws: SQLProblem.self) { try SQLSplitter.statements(of: sql) }

        #expect(problem?.line == line)
        #expect(problem?.what.contains(word) == true)
    }

    @Test func `empty statements and texts are nothing`() throws {
        #expect(try SQLSplitter.statements(of: "").isEmpty)
        #expect(try SQLSplitter.statements(of: " ;; -- x\n /* y */ ;").isEmpty)
    }

    @Test func `every statement of the corpora is cut as the parser cuts it`() throws {
        for sql in Self.corpus {
            #expect(try SQLSplitter.statements(of: sql).map(\.text) == parserPieces(of: sql))
        }
    }

    @Test(arguments: [71_193, 4_021, 998_877] as [UInt64])
    func `random files are cut as the parser cuts them`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let gaps = [";", ";\n", " ;;\n", "; -- it's; \"\n", ";\n/* $$ ; /* ' */ */\n", ";\t\r\n"]
        for _ in 0..<300 {
            var sql = ""
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                sql += Self.corpus.randomElement(using: &generator) ?? ""
                sql += gaps.randomElement(using: &generator) ?? ";"
            }
            let pieces = try SQLSplitter.statements(of: sql)
            #expect(pieces.map(\.text) == (try parserPieces(of: sql)), "seed \(seed): \(sql)")
            let lines = sql.split(omittingEmptySubsequences: false) { $0.isNewline }
            for piece in pieces {
                let first = piece.text.prefix { !$0.isNewline }
                #expect(lines[piece.line - 1].contains(first), "seed \(seed): \(piece)")
            }
        }
    }

    /// All that the parser can read, from all corpora.
    private static let corpus =
        EffectCases.all + EffectCases.outsideTransactions + [EffectCases.schema, LintEntry.context]
        + (LintCorpus.dangerous + LintCorpus.rest + LintCorpus.harmless)
        .filter { $0.rules != ["unreadable"] }.map(\.sql)
        + [
            "select $a$ it's; $$ \" $a$", "select E'\\'; --', 'x'",
            "create function f() returns int begin atomic select case when true then 1 end; end",
            "create rule r as on insert to t do also (insert into a values (1); select ';')",
        ]

    /// How PostgreSQL's own parser cuts a text, without comments and blanks around the pieces.
    private func parserPieces(of sql: String) throws -> [String] {
        let result = pg_query_split_with_parser(sql)
        defer { pg_query_free_split_result(result) }
        if let error = result.error {
            throw SQLProblem(line: 0, what: String(cString: error.pointee.message))
        }
        let bytes = Array(sql.utf8)
        return (0..<Int(result.n_stmts)).compactMap { index in
            guard let piece = result.stmts[index]?.pointee else { return nil }
            let begin = Int(piece.stmt_location)
            let text = String(decoding: bytes[begin..<begin + Int(piece.stmt_len)], as: UTF8.self)
            return withoutCommentsAround(text)
        }
    }

    /// The parser counts comments before and after a statement to it; the splitter does not.
    private func withoutCommentsAround(_ text: String) -> String {
        let leading = #/^(\s|--[^\n]*(\n|$)|/\*([^*/]|\*(?!/)|/(?!\*)|/\*([^*]|\*(?!/))*\*/)*\*/)+/#
        let trailing = #/\s+$/#
        return String(text.trimmingPrefix(leading).replacing(trailing, with: ""))
    }
}
