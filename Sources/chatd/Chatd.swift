import ArgumentParser
import FoundationEssentials
import Glibc
import Logging
import NIOCore

/// The command: reads the settings, then runs the program.
@main
struct Chatd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chatd",
        abstract: "A chat server whose rooms live on PostgreSQL shards.",
        discussion: """
            Each setting is a flag, or else an environment variable, or else an entry of the \
            configuration file (a JSON object; the names stand in quotes below), or else has its \
            default.

            Example:
              chatd --catalog 'host=127.0.0.1 port=54320 dbname=catalog user=chatd'
            """,
        subcommands: [ConfigCommand.self, SpoolCommand.self])

    @Option(
        help: ArgumentHelp(
            "Where the catalog is, as libpq writes it. Needed. (SHARD_CATALOG, \"catalog\")",
            valueName: "connection"))
    var catalog: String?

    @Option(
        help: ArgumentHelp(
            """
            Where to listen; IPv6 in brackets, port 0 takes a free one. \
            (CHATD_BIND, "bind"; default: 127.0.0.1:8080)
            """, valueName: "host:port"))
    var bind: String?

    @Option(
        name: .customLong("redis-url"),
        help: ArgumentHelp(
            """
            The Redis over which servers hear each other. \
            rediss:// encrypts. (CHATD_REDIS_URL, "redisURL"; default: none, a single server)
            """, valueName: "redis://[user:password@]host:port"))
    var redisURL: String?

    @Option(
        name: .customLong("redis-ca"),
        help: ArgumentHelp(
            """
            The authorities that may vouch for Redis, in PEM, with rediss://. \
            (CHATD_REDIS_CA, "redisCA"; default: those of the system)
            """, valueName: "file"))
    var redisCA: String?

    @Option(
        help: ArgumentHelp(
            """
            How people prove who they are; 'open': not at all, they say a name; 'jwt': by tokens. \
            (CHATD_AUTH, "auth"; default: open)
            """, valueName: "open|jwt"))
    var auth: String?

    @Flag(
        help: """
            Serve open authentication on addresses other machines can reach. \
            (CHATD_ALLOW_OPEN=1, "allowOpen"; default: no)
            """)
    var allowOpen = false

    @Option(
        name: .customLong("jwt-keys"),
        help: ArgumentHelp(
            """
            The keys that prove tokens: public keys in PEM, lines hs256:SECRET, or a JWKS. Read \
            again when it changes. (CHATD_JWT_KEYS, "jwtKeys"; needed with 'jwt')
            """, valueName: "file"))
    var jwtKeys: String?

    @Option(
        name: .customLong("jwt-audience"),
        help: ArgumentHelp(
            """
            What the claim 'aud' of tokens must name. \
            (CHATD_JWT_AUDIENCE, "jwtAudience"; default: it is not looked at)
            """, valueName: "name"))
    var jwtAudience: String?

    @Option(
        name: .customLong("jwt-issuer"),
        help: ArgumentHelp(
            """
            What the claim 'iss' of tokens must be. \
            (CHATD_JWT_ISSUER, "jwtIssuer"; default: it is not looked at)
            """, valueName: "name"))
    var jwtIssuer: String?

    @Option(
        help: ArgumentHelp(
            """
            Web pages that may talk to this server beside its own, with commas between. \
            (CHATD_ALLOWED_ORIGINS, "allowedOrigins"; default: none)
            """, valueName: "https://host,…"))
    var allowedOrigins: String?

    @Option(
        help: ArgumentHelp(
            """
            What clients are told this server is called. \
            (CHATD_SERVER_NAME, "serverName"; default: the machine's name and the port)
            """, valueName: "name"))
    var serverName: String?

    @Option(
        help: ArgumentHelp(
            """
            Where to keep the last known topology, for a start without the catalog. \
            (CHATD_TOPOLOGY_FILE, "topologyFile"; default: a file in $XDG_STATE_HOME/chatd or \
            ~/.local/state/chatd)
            """, valueName: "file"))
    var topologyFile: String?

    @Option(
        help: ArgumentHelp(
            """
            Where messages wait, safe on disk, while their shard is out of reach. One folder for \
            each server. (CHATD_SPOOL_DIR, "spoolDir"; default: a folder in $XDG_STATE_HOME/chatd \
            or ~/.local/state/chatd for each address, none for port 0)
            """, valueName: "folder"))
    var spoolDir: String?

    @Option(
        help: ArgumentHelp(
            """
            The keys that sign receipts of messages, the same file for all servers: 64 hexadecimal \
            digits a line, the first signs. (CHATD_RECEIPT_KEYS, "receiptKeys"; default: a key in \
            the catalog)
            """, valueName: "file"))
    var receiptKeys: String?

    @Option(
        help: ArgumentHelp(
            """
            How long a server that is told to stop takes to let its clients go one by one; 0: at \
            once. (CHATD_DRAIN_TIME, "drainTime"; default: 10)
            """, valueName: "seconds"))
    var drainTime: String?

    @OptionGroup(title: "Network options")
    var network: NetworkOptions

    @Option(
        help: ArgumentHelp(
            """
            What goes to the log on standard error, from 'trace' to 'critical'. \
            (CHATD_LOG_LEVEL, "logLevel"; default: info)
            """, valueName: "level"))
    var logLevel: String?

    @Option(help: ArgumentHelp("A file with settings. (no default)", valueName: "file"))
    var config: String?

    func run() async throws {
        let settings: ServerConfiguration
        do throws(ConfigurationError) {
            settings = try ServerConfiguration(
                try sources(), hostName: Self.hostName(),
                processID: ProcessInfo.processInfo.processIdentifier)
        } catch {
            Self.complain("\(error)")
            throw ExitCode(error.exitCode)
        }
        LoggingSystem.bootstrap { _ in LogfmtHandler(logLevel: settings.logLevel) }
        // More loops than cores only take turns.
        NIOSingletons.groupLoopCountSuggestion = UsableCores.count
        do throws(ProgramError) {
            try await ChatProgram(configuration: settings, logger: Logger(label: "chatd")).run()
        } catch {
            Self.complain("\(error)")
            throw ExitCode(error.exitCode)
        }
    }

    /// Flags, environment and file, which the subcommands share.
    func sources() throws(ConfigurationError) -> SettingSources {
        var flags: [Setting: String] = [:]
        flags[.catalog] = catalog
        flags[.bind] = bind
        flags[.redisURL] = redisURL
        flags[.redisCA] = redisCA
        flags[.auth] = auth
        flags[.allowOpen] = allowOpen ? "1" : nil
        flags[.jwtKeys] = jwtKeys
        flags[.jwtAudience] = jwtAudience
        flags[.jwtIssuer] = jwtIssuer
        flags[.allowedOrigins] = allowedOrigins
        flags[.serverName] = serverName
        flags[.topologyFile] = topologyFile
        flags[.spoolDir] = spoolDir
        flags[.receiptKeys] = receiptKeys
        flags[.drainTime] = drainTime
        network.add(to: &flags)
        flags[.logLevel] = logLevel
        return SettingSources(
            flags: flags, environment: ProcessInfo.processInfo.environment,
            file: try config.map { path throws(ConfigurationError) in
                try ConfigurationFile.read(path)
            })
    }

    static func hostName() -> String {
        var bytes = [CChar](repeating: 0, count: 256)
        guard gethostname(&bytes, bytes.count - 1) == 0 else { return "localhost" }
        let name = bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: name, as: UTF8.self)
    }

    static func complain(_ message: String) {
        let bytes = Array("chatd: \(message)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
