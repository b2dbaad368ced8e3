import ArgumentParser
import FoundationEssentials
import NIOCore

/// `chatd config`: what the settings come to.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Shows what the settings come to.",
        subcommands: [ConfigCheck.self])
}

struct ConfigCheck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Shows each setting as a server would take it, and where it comes from.",
        discussion: """
            Starts nothing and connects to nothing; files that a server needs are read. All that \
            is wrong is told at once, and warnings where settings do not go together. Passwords \
            are not shown. Exit codes: 0 a server would take them, 64 something is written wrong, \
            2 something is refused, 1 a file is of no use.

            Example: chatd config check --config /etc/chatd.json
            """)

    @ParentCommand var server: Chatd

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() async throws {
        let sources: SettingSources
        do throws(ConfigurationError) {
            sources = try server.sources()
        } catch {
            Chatd.complain("\(error)")
            throw ExitCode(error.exitCode)
        }
        let review = await ConfigReview(
            sources, hostName: Chatd.hostName(),
            processID: ProcessInfo.processInfo.processIdentifier)
        for finding in review.findings {
            switch finding.weight {
            case .fault: Chatd.complain(finding.text)
            case .warning: Chatd.complain("warning: \(finding.text)")
            }
        }
        guard review.exitCode == 0, let configuration = review.configuration else {
            throw ExitCode(max(1, review.exitCode))
        }
        let settings = EffectiveSettings(configuration, sources)
        print(json ? settings.json : settings.text)
    }
}

extension EffectiveSettings {
    /// `{"bind":{"value":"127.0.0.1:8080","source":"default"}}`
    fileprivate var json: String {
        var json = JSONWriter(capacity: 2_048)
        json.raw("{")
        for (index, entry) in entries.enumerated() {
            if index > 0 { json.raw(",") }
            json.string(entry.setting.key)
            json.raw(":{\"value\":")
            json.string(entry.value)
            json.raw(",\"source\":")
            json.string(entry.source)
            json.raw("}")
        }
        json.raw("}")
        return String(buffer: json.buffer)
    }
}
