/// One statement of a file.
public struct SQLStatement: Sendable, Equatable {
    /// Without its semicolon and the comments before it.
    public var text: String
    /// The line comments before and in it, without `--`, trimmed.
    public var comments: [String]
    /// The line of its first word in the file, from 1.
    public var line: Int
    /// The rows of a `COPY … FROM STDIN`, as they stand in the file, without the closing `\.`.
    public var copyData: String?

    public init(text: String, comments: [String] = [], line: Int = 1, copyData: String? = nil) {
        self.text = text
        self.comments = comments
        self.line = line
        self.copyData = copyData
    }
}

/// Why a text cannot be read as SQL.
public struct SQLProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// From 1.
    public var line: Int
    public var what: String

    public var description: String { "line \(line): \(what)" }
}
