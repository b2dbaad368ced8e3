import ArgumentParser
import FoundationEssentials
import Logging
import NIOCore

/// `chatd config`: what the settings come to.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Shows what the settings come to.",
        subcommands: [ConfigCheck.self])
}

struct ConfigCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Shows each setting as a server would take it, and where it comes from.",
        discussion: """
            Starts nothing and connects to nothing; files that a server needs are read. Passwords \
            are not shown. Exit codes: 0 a server would take them, 64 something is written wrong, \
            2 something is refused.

            Example: chatd config check --config /etc/chatd.json
            """)

    @ParentCommand var server: Chatd

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let settings: EffectiveSettings
        do {
            let sources = try server.sources()
            let configuration = try ServerConfiguration(
                sources, hostName: Chatd.hostName(),
                processID: ProcessInfo.processInfo.processIdentifier)
            if let files = configuration.tls {
                _ = try TLSCertificates(
                    files: files, interval: .zero, logger: Logger(label: "chatd"))
            }
            settings = EffectiveSettings(configuration, sources)
        } catch let error as ConfigurationError {
            Chatd.complain("\(error)")
            throw ExitCode(error.exitCode)
        } catch let error as ProgramError {
            Chatd.complain("\(error)")
            throw ExitCode(error.exitCode)
        }
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
