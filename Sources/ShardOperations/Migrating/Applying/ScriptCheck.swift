/// What a runner would trip over in the middle of a file, found before it begins. No I/O.
struct ScriptCheck {
    let script: MigrationScript

    /// - Throws: a refusal that names the file and the line.
    func run() throws {
        guard !script.statements.isEmpty else {
            throw OperationError.refused(
                "\(script.file) has no statement",
                next: "write it, or remove the pair; then: shardctl migrate new --refresh")
        }
        for statement in script.statements { try check(statement) }
    }

    private func check(_ statement: SQLStatement) throws {
        let step = MigrationStep(statement)
        if step == .controlsTransaction {
            throw refused(
                statement, "the runner begins and ends transactions, not the file",
                next: "take the statement out")
        }
        if case .makesIndex(let index) = step, index.name == nil {
            throw refused(
                statement,
                "an index that is made concurrently needs a name, so that it can be found again",
                next: "give it a name")
        }
        if script.directives.isTransactional, step.needsNoTransaction {
            throw refused(
                statement, "this statement cannot run in a transaction",
                next: "move it into a file of its own that begins with: "
                    + "-- shardctl: transaction=off")
        }
        if step == .givesRows {
            throw refused(
                statement, "nobody would take the rows of COPY … TO STDOUT",
                next: "take the statement out")
        }
    }

    func refused(_ statement: SQLStatement, _ why: String, next: String) -> OperationError {
        .refused(
            "\(script.file), line \(statement.line): \(why): "
                + StatementText.brief(statement.text), next: next)
    }
}
