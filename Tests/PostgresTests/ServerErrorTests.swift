import Postgres
import Testing

@Suite struct ServerErrorTests {
    @Test(arguments: [
        ("23514", false), ("23505", false), ("22001", false), ("22P02", false), ("42501", true),
        ("40P01", true), ("02200", true),
    ])
    func `what data was refused is kept, and not shown`(sqlState: String, isShown: Bool) {
        var error = ServerError(sqlState: sqlState, message: "it cannot be")
        error.detail = "Failing row contains (1, a secret)."
        error.hint = "look at it"
        error.context = "COPY messages, line 1: a secret"

        for text in [error.description, PostgresError.server(error).description] {
            #expect(text.contains("secret") == isShown)
            #expect(text.hasPrefix("it cannot be (SQLSTATE \(sqlState))"))
            #expect(text.hasSuffix("; hint: look at it"))
        }
        #expect(error.detail == "Failing row contains (1, a secret).")
    }
}
