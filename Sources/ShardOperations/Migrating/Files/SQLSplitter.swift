/// Cuts a text into its statements, without knowing the grammar of any of them.
///
/// Follows the lexical rules of PostgreSQL's manual (chapter 4.1, with `standard_conforming_strings`)
/// and `psql`'s rule for the rows of a `COPY`. Works for statements that are newer than the parser
/// that ``SyntaxTree`` uses. A semicolon does not end a statement in quotes of any kind, in comments,
/// in parentheses (`CREATE RULE`), or between `BEGIN ATOMIC` and its `END`.
struct SQLSplitter {
    private let bytes: [UInt8]
    private var index = 0
    private var line = 1

    /// Of the statement that is being read.
    private var start: Int?
    private var startLine = 1
    private var end = 0
    private var comments: [String] = []
    private var parentheses: [Int] = []
    private var words = Words()

    private var statements: [SQLStatement] = []

    /// - Throws: ``SQLProblem`` for what has no end, and for commands of `psql`.
    static func statements(of text: String) throws(SQLProblem) -> [SQLStatement] {
        var splitter = SQLSplitter(bytes: Array(text.utf8))
        if let place = splitter.bytes.firstIndex(of: 0) {
            // Whatever passes a text on ends it there.
            let lines = splitter.bytes[..<place].count { $0 == UInt8(ascii: "\n") }
            throw SQLProblem(line: lines + 1, what: "a NUL byte is no part of SQL")
        }
        try splitter.run()
        return splitter.statements
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private mutating func run() throws(SQLProblem) {
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "\n"):
                line += 1
                index += 1
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), 0x0C, 0x0B:
                index += 1
            case UInt8(ascii: "-") where peek(1) == UInt8(ascii: "-"):
                lineComment()
            case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "*"):
                try blockComment()
            case UInt8(ascii: ";") where parentheses.isEmpty && !words.isInBody:
                index += 1
                try finish()
            default:
                try token()
            }
        }
        if let open = parentheses.last {
            throw SQLProblem(line: open, what: "a parenthesis is never closed")
        }
        guard !words.isInBody else {
            throw SQLProblem(line: startLine, what: "BEGIN ATOMIC has no END")
        }
        try finish()
    }

    /// Something that belongs to a statement.
    private mutating func token() throws(SQLProblem) {
        let first = bytes[index]
        if start == nil {
            guard first != UInt8(ascii: "\\") else {
                throw SQLProblem(
                    line: line, what: "commands of psql, such as \\connect, are not SQL")
            }
            (start, startLine) = (index, line)
        }
        switch first {
        case UInt8(ascii: "'"):
            try quoted(by: first, isEscaping: false)
        case UInt8(ascii: "\""):
            try quoted(by: first, isEscaping: false)
        case UInt8(ascii: "$"):
            try dollar()
        case UInt8(ascii: "("):
            parentheses.append(line)
            index += 1
        case UInt8(ascii: ")"):
            guard parentheses.popLast() != nil else {
                throw SQLProblem(line: line, what: "a parenthesis is closed that was not opened")
            }
            index += 1
        default:
            if Self.beginsWord(first) { try word() } else { index += 1 }
        }
        end = index
    }

    private mutating func word() throws(SQLProblem) {
        let begin = index
        while index < bytes.count, Self.continuesWord(bytes[index]) { index += 1 }
        let text = String(decoding: bytes[begin..<index], as: UTF8.self).lowercased()
        if text == "e", peek(0) == UInt8(ascii: "'") {
            return try quoted(by: UInt8(ascii: "'"), isEscaping: true)
        }
        words.add(text, isNested: !parentheses.isEmpty)
    }

    private mutating func quoted(by quote: UInt8, isEscaping: Bool) throws(SQLProblem) {
        let begin = line
        index += 1
        while index < bytes.count {
            switch bytes[index] {
            case quote:
                index += 1
                // Without escapes a doubled one ends here and begins anew; with them, what goes on
                // behind a doubled one or a line break is still the same string.
                guard isEscaping, goesOn() else { return }
            case UInt8(ascii: "\\") where isEscaping:
                if peek(1) == UInt8(ascii: "\n") { line += 1 }
                index += 2
            case UInt8(ascii: "\n"):
                line += 1
                index += 1
            default:
                index += 1
            }
        }
        throw SQLProblem(line: begin, what: "a quote is never closed")
    }

    /// Whether the string that has just ended goes on: at once, or behind white space with a line
    /// break in it. Then it stands behind the opening quote.
    private mutating func goesOn() -> Bool {
        var after = index
        var lines = 0
        while after < bytes.count, [32, 9, 10, 11, 12, 13].contains(bytes[after]) {
            if bytes[after] == UInt8(ascii: "\n") { lines += 1 }
            after += 1
        }
        guard after < bytes.count, bytes[after] == UInt8(ascii: "'"), after == index || lines > 0
        else { return false }
        index = after + 1
        line += lines
        return true
    }

    /// `$$ … $$`, `$tag$ … $tag$`, or a parameter such as `$1`.
    private mutating func dollar() throws(SQLProblem) {
        var after = index + 1
        if after < bytes.count, Self.beginsWord(bytes[after]) {
            while after < bytes.count, Self.continuesWord(bytes[after]),
                bytes[after] != UInt8(ascii: "$")
            {
                after += 1
            }
        }
        guard after < bytes.count, bytes[after] == UInt8(ascii: "$") else {
            index += 1
            return
        }
        let tag = bytes[index...after]
        let begin = line
        index = after + 1
        while index + tag.count <= bytes.count {
            if bytes[index] == UInt8(ascii: "$"), bytes[index..<index + tag.count] == tag {
                index += tag.count
                return
            }
            if bytes[index] == UInt8(ascii: "\n") { line += 1 }
            index += 1
        }
        throw SQLProblem(
            line: begin, what: "\(String(decoding: tag, as: UTF8.self)) is never closed")
    }

    private mutating func lineComment() {
        let begin = index + 2
        while index < bytes.count, bytes[index] != UInt8(ascii: "\n"),
            bytes[index] != UInt8(ascii: "\r")
        {
            index += 1
        }
        comments.append(
            String(decoding: bytes[begin..<index], as: UTF8.self)
                .trimmingPrefix { $0.isWhitespace }.description)
    }

    private mutating func blockComment() throws(SQLProblem) {
        let begin = line
        var depth = 0
        while index < bytes.count {
            switch (bytes[index], peek(1)) {
            case (UInt8(ascii: "/"), UInt8(ascii: "*")):
                depth += 1
                index += 2
            case (UInt8(ascii: "*"), UInt8(ascii: "/")):
                depth -= 1
                index += 2
                if depth == 0 { return }
            case (UInt8(ascii: "\n"), _):
                line += 1
                index += 1
            default:
                index += 1
            }
        }
        throw SQLProblem(line: begin, what: "a comment is never closed")
    }

    private mutating func finish() throws(SQLProblem) {
        if let start {
            var statement = SQLStatement(
                text: String(decoding: bytes[start..<end], as: UTF8.self), comments: comments,
                line: startLine)
            if words.readsRows { statement.copyData = try rows() }
            statements.append(statement)
            comments = []
        }
        start = nil
        words = Words()
    }

    /// The lines after a `COPY … FROM STDIN;` up to the one that is `\.`.
    private mutating func rows() throws(SQLProblem) -> String {
        while index < bytes.count, bytes[index] != UInt8(ascii: "\n") { index += 1 }
        guard index < bytes.count else {
            throw SQLProblem(line: startLine, what: "COPY … FROM STDIN has no rows after it")
        }
        index += 1
        line += 1
        let begin = index
        while index < bytes.count {
            let first = index
            while index < bytes.count, bytes[index] != UInt8(ascii: "\n") { index += 1 }
            let isEnd = bytes[first..<index].elementsEqual("\\.".utf8)
            if index < bytes.count {
                index += 1
                line += 1
            }
            if isEnd { return String(decoding: bytes[begin..<first], as: UTF8.self) }
        }
        throw SQLProblem(
            line: startLine, what: "the rows of COPY … FROM STDIN do not end with a line \\.")
    }

    private func peek(_ distance: Int) -> UInt8? {
        index + distance < bytes.count ? bytes[index + distance] : nil
    }

    private static func beginsWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "_"), 0x80...0xFF:
            true
        default: false
        }
    }

    private static func continuesWord(_ byte: UInt8) -> Bool {
        beginsWord(byte) || byte == UInt8(ascii: "$")
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}

extension SQLSplitter {
    /// What the words of a statement say about where it ends.
    private struct Words {
        private var first: String?
        private var last: String?
        /// Of `BEGIN ATOMIC` and the `CASE`s in it.
        private var depth = 0
        private(set) var readsRows = false

        var isInBody: Bool { depth > 0 }

        mutating func add(_ word: String, isNested: Bool) {
            if isInBody {
                if word == "case" { depth += 1 }
                if word == "end" { depth -= 1 }
            } else if first == "create", last == "begin", word == "atomic" {
                depth = 1
            }
            if first == "copy", !isNested, last == "from", word == "stdin" { readsRows = true }
            first = first ?? word
            last = word
        }
    }
}
