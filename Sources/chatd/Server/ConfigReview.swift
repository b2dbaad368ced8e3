import FoundationEssentials
import Logging
import NIOSSL

/// Everything that is wrong with a server's settings and with the files that they name. Connects to
/// nothing and changes nothing.
struct ConfigReview: Sendable {
    struct Finding: Equatable, Sendable {
        enum Weight: Equatable, Sendable {
            /// A server would start, and may not do what is meant.
            case warning
            /// A server would not start, or serve nobody. With the exit code.
            case fault(Int32)
        }

        var weight: Weight
        var text: String
    }

    /// A certificate that ends within this time is worth a word.
    private static let certificateNotice: TimeInterval = 14 * 86_400

    private(set) var findings: [Finding] = []
    /// What the settings come to; nil when they cannot be used.
    private(set) var configuration: ServerConfiguration?

    /// - Parameter now: what dates of certificates are compared with.
    init(
        _ sources: SettingSources, hostName: String, processID: Int32, now: Date = Date()
    ) async {
        for fault in ServerConfiguration.faults(sources) { note(fault) }
        do throws(ConfigurationError) {
            configuration = try ServerConfiguration(
                sources, hostName: hostName, processID: processID)
        } catch {
            note(error)
        }
        await checkKeys(sources)
        await checkReceiptKeys(sources)
        checkCertificate(sources, now)
        checkPlaces(sources)
        if let configuration { checkTogether(configuration, sources) }
    }

    /// Of the worst that was found: 64 written wrong, 2 refused, 1 of no use, 0 none.
    var exitCode: Int32 {
        findings.map { finding in
            switch finding.weight {
            case .warning: 0
            case .fault(let code): code
            }
        }.max() ?? 0
    }

    private mutating func note(_ error: ConfigurationError) {
        let finding = Finding(weight: .fault(error.exitCode), text: "\(error)")
        if !findings.contains(finding) { findings.append(finding) }
    }

    private mutating func fault(_ code: Int32, _ text: String) {
        findings.append(Finding(weight: .fault(code), text: text))
    }

    private mutating func warn(_ text: String) {
        findings.append(Finding(weight: .warning, text: text))
    }

    // MARK: Files

    private mutating func checkKeys(_ sources: SettingSources) async {
        let settings: TokenSettings
        do throws(ConfigurationError) {
            guard case .tokens(let found) = try Authentication(sources) else { return }
            settings = found
        } catch {
            return  // Noted before.
        }
        do throws(KeyFileError) {
            let keys = try await KeyFile.open(
                settings.keys, logger: Logger(label: "check") { _ in SwiftLogNoOpLogHandler() }
            ).keys
            if keys.hasSecret, (FileStatus(settings.keys)?.permissions ?? 0) & 0o004 != 0 {
                warn("everybody on this machine can read the secret in \(settings.keys); chmod 600")
            }
        } catch {
            fault(1, "the keys in \(settings.keys) cannot be used: \(error)")
        }
    }

    private mutating func checkReceiptKeys(_ sources: SettingSources) async {
        guard let path = sources[.receiptKeys]?.text else { return }
        do throws(ReceiptKeySource.Trouble) {
            _ = try await ReceiptKeySource.file(path).keys(deadline: .now)
            if (FileStatus(path)?.permissions ?? 0) & 0o004 != 0 {
                warn("everybody on this machine can read the keys of receipts; chmod 600 \(path)")
            }
        } catch {
            fault(64, "the keys of receipts: \(error)")
        }
    }

    private mutating func checkCertificate(_ sources: SettingSources, _ now: Date) {
        guard let certificate = sources[.tlsCertificate]?.text, let key = sources[.tlsKey]?.text
        else { return }
        do throws(ProgramError) {
            _ = try TLSCertificates(
                files: TLSFiles(certificate: certificate, key: key), interval: .zero,
                logger: Logger(label: "check") { _ in SwiftLogNoOpLogHandler() })
        } catch {
            fault(error.exitCode, error.description)
            return
        }
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(certificate)
            for (index, one) in chain.enumerated() {
                checkDates(of: one, called: "certificate \(index + 1) of \(certificate)", now)
            }
        } catch {
            fault(64, "the certificate \(certificate) cannot be read: \(error)")
        }
    }

    private mutating func checkDates(
        of certificate: NIOSSLCertificate, called name: String, _ now: Date
    ) {
        let start = Date(timeIntervalSince1970: TimeInterval(certificate.notValidBefore))
        let end = Date(timeIntervalSince1970: TimeInterval(certificate.notValidAfter))
        if now < start {
            fault(1, "\(name) is not valid before \(start.ISO8601Format())")
        } else if now >= end {
            fault(1, "\(name) has ended: it was valid until \(end.ISO8601Format())")
        } else if now > end - Self.certificateNotice {
            warn("\(name) ends soon: it is valid until \(end.ISO8601Format())")
        }
    }

    /// The folders that a server writes to.
    private mutating func checkPlaces(_ sources: SettingSources) {
        do throws(ConfigurationError) {
            if let place = try ServerConfiguration.spoolPlace(sources) { check(place) }
            let catalog = try ServerConfiguration.catalog(sources)
            let file = try ServerConfiguration.topologyFile(sources, catalog: catalog)
            if let file, let trouble = FilePlaces.trouble(writingTo: FilePlaces.folder(of: file)) {
                warn("the topology cannot be kept in \(file): \(trouble)")
            }
        } catch {
            // Noted before.
        }
    }

    private mutating func check(_ place: SpoolPlace) {
        if let trouble = FilePlaces.trouble(writingTo: place.folder) {
            let text = "the spool cannot be in \(place.folder): \(trouble)"
            if place.isGiven { fault(1, text) } else { warn(text) }
        } else if let holder = SpoolFolder.holder(of: place.folder) {
            warn("the spool in \(place.folder) is in use by the process \(holder)")
        }
    }

    // MARK: Settings that do not go together

    private mutating func checkTogether(
        _ configuration: ServerConfiguration, _ sources: SettingSources
    ) {
        if let admin = configuration.admin, admin.port != 0, admin.port == configuration.bind.port,
            configuration.bind.host == admin.host || configuration.bind.isEverywhere
        {
            fault(1, "\(Setting.adminBind.variable) and \(Setting.bind.variable) are the same port")
        }
        let isOpen = configuration.authentication == .open
        if !isOpen, configuration.tls == nil, !configuration.bind.isLoopback,
            configuration.proxies == TrustedProxies()
        {
            warn(
                "tokens come to \(configuration.bind) without TLS: set \(Setting.tlsCertificate.flag)"
                    + ", or listen where only a proxy with TLS can reach it")
        }
        if !isOpen, let given = sources[.allowOpen] {
            warn("\(given.place) has no effect: tokens are asked for")
        }
        if configuration.shared.userSockets > configuration.shared.roomSockets {
            warn(
                "\(Setting.userSockets.variable) is above \(Setting.roomSockets.variable): one user "
                    + "can fill a room")
        }
        if configuration.shared.userMessagesPerSecond > configuration.shared.roomMessagesPerSecond {
            warn(
                "\(Setting.userRate.variable) is above \(Setting.roomRate.variable): one user can "
                    + "take all that a room may have")
        }
        if configuration.redis == nil, sources[.redisURL] == nil, !configuration.bind.isLoopback {
            warn("no Redis is named: this server must be the only one of its cluster")
        }
    }
}

extension HostAndPort {
    /// Whether it stands for every address of the machine.
    fileprivate var isEverywhere: Bool { ["0.0.0.0", "::"].contains(host) }
}
