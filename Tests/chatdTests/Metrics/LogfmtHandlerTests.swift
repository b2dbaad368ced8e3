import Logging
import Postgres
import Synchronization
import Testing

@testable import chatd

/// How lines of the log look.
@Suite struct LogfmtHandlerTests {
    private struct Trouble: Error {}

    private func line(
        _ message: Logger.Message = "A thing happened.", _ metadata: Logger.Metadata = [:],
        error: (any Error)? = nil, by handler: LogfmtHandler = LogfmtHandler()
    ) -> String {
        let event = LogEvent(
            level: .warning, message: message, error: error, metadata: metadata, source: "chatd",
            file: "x/y.swift", function: "f", line: 1)
        return handler.line(event, at: Timestamp(microsecondsSince1970: 1_000))
    }

    /// What stands behind the message.
    private func fields(_ metadata: Logger.Metadata) -> String {
        let begin = #"level=warning source=chatd message="A thing happened." "#
        let line = line("A thing happened.", metadata)
        guard line.hasSuffix("\n"), let place = line.firstRange(of: begin) else { return line }
        return String(line[place.upperBound...].dropLast())
    }

    @Test func `a line says when, how grave, where from, and what`() {
        #expect(
            line("It is \"over\".\nReally.")
                == #"time=1970-01-01T00:00:00.001Z level=warning source=chatd "#
                + #"message="It is \"over\".\nReally.""# + "\n")
    }

    @Test(arguments: [
        ("lobby", "lobby"), ("redis://[::1]:6379", #""redis://[::1]:6379""#),
        ("10.5/x_y:z+1-2", "10.5/x_y:z+1-2"), ("", #""""#), ("a b", #""a b""#), ("a=b", #""a=b""#),
        (#"a" level="error"#, #""a\" level=\"error""#), (#"\"#, #""\\""#),
        ("a\nb\rc\td", #""a\nb\rc\td""#), ("\u{0}\u{1B}[31m\u{7F}", #""\u0000\u001b[31m\u007f""#),
        ("a\r\nb", #""a\r\nb""#), ("\u{85}\u{2028}\u{2029}", #""\u0085\u2028\u2029""#),
        ("\u{202E}drow\u{2066}", #""\u202edrow\u2066""#), ("\u{E0041}", #""\udb40\udc41""#),
        ("Zoë 🙂", #""Zoë 🙂""#), ("e\u{301}\"\u{301}", "\"e\u{301}\\\"\u{301}\""),
    ])
    func `a value is plain, or stands in quotes`(text: String, written: String) {
        #expect(fields(["user": "\(text)"]) == "user=\(written)")
        #expect(fields(["user": .stringConvertible(text)]) == "user=\(written)")
    }

    @Test func `keys are cleaned, sorted, and none hides what a line says itself`() {
        #expect(
            fields(["b c=\"\n": "1", "a.b_c-d": "2", "": "3", "level": "4", "message": "5"])
                == "_=3 a.b_c-d=2 b_c___=1 metadata.level=4 metadata.message=5")
    }

    @Test func `what has parts is written part by part`() {
        #expect(
            fields(["a": ["y": "2 3", "x": ["z": "1"]], "b": ["p", "q r"], "c": .array([])])
                == #"a.x.z=1 a.y="2 3" b.0=p b.1="q r""#)
    }

    @Test func `the nearest word about a key counts`() {
        let provider = Logger.MetadataProvider { ["b": "provider", "c": "provider"] }
        var handler = LogfmtHandler(metadataProvider: provider)
        handler.metadata = ["a": "handler", "b": "handler"]

        let line = line("x", ["c": "event"], error: Trouble(), by: handler)

        let fields = "a=handler b=provider c=event error.message=\"Trouble()\" error.type="
        #expect(line.contains("message=\"x\" " + fields))
    }

    @Test func `what is below the level is not written`() {
        let lines = Mutex<[String]>([])
        let logger = Logger(label: "test") { _ in
            LogfmtHandler(
                logLevel: .notice, output: { line in lines.withLock { $0.append(line) } })
        }

        logger.info("too fine")
        logger.error("told", metadata: ["user": "a\nb"])

        #expect(lines.withLock { $0.count } == 1)
        #expect(lines.withLock { $0.first?.hasSuffix("message=\"told\" user=\"a\\nb\"\n") } == true)
    }
}
