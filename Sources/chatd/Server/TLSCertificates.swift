import FoundationEssentials
import Logging
import NIOSSL
import ServiceLifecycle
import Synchronization

/// The certificate of a server, which is read again when its files change.
///
/// New connections get the new one; open ones keep what they have. Files that cannot be used change
/// nothing: the old certificate stays, and a warning says so.
final class TLSCertificates: Service {
    /// What tells one state of the files from another, without reading them.
    private struct Version: Equatable {
        var certificate: FileVersion
        var key: FileVersion
    }

    private struct FileVersion: Equatable {
        var modified: Date?
        var bytes: UInt64?
        var number: UInt64?
    }

    private struct State {
        var context: NIOSSLContext
        /// Of the files that were last looked into, good or not.
        var version: Version
    }

    private let files: TLSFiles
    private let interval: Duration
    private let logger: Logger
    private let state: Mutex<State>

    /// - Parameter interval: how often the files are looked at.
    /// - Throws: What is wrong with the files, in words.
    init(files: TLSFiles, interval: Duration, logger: Logger) throws(ProgramError) {
        self.files = files
        self.interval = interval
        self.logger = logger
        let version = Self.version(of: files)
        do {
            state = Mutex(State(context: try Self.context(files), version: version))
        } catch {
            throw ProgramError(
                description: "the certificate \(files.certificate) with the key \(files.key) "
                    + "cannot be used: \(Self.reason(error))", exitCode: 64)
        }
    }

    /// What encrypts one connection, with the certificate of now.
    func makeHandler() -> NIOSSLServerHandler {
        NIOSSLServerHandler(context: state.withLock { $0.context })
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            do {
                while true {
                    try await Task.sleep(for: self.interval)
                    self.refresh()
                }
            } catch {
                // Told to stop.
            }
        }
    }

    /// Reads the files if they have changed.
    func refresh() {
        let version = Self.version(of: files)
        guard state.withLock({ $0.version != version }) else { return }
        do {
            let context = try Self.context(files)
            state.withLock { $0 = State(context: context, version: version) }
            logger.info("the certificate was renewed", metadata: ["file": "\(files.certificate)"])
        } catch {
            state.withLock { $0.version = version }
            logger.warning(
                "the new certificate cannot be used; the old one is kept",
                metadata: [
                    "file": "\(files.certificate)", "error": "\(Self.reason(error))",
                ])
        }
    }

    private static func context(_ files: TLSFiles) throws -> NIOSSLContext {
        let chain = try NIOSSLCertificate.fromPEMFile(files.certificate)
        let key = try NIOSSLPrivateKey(file: files.key, format: .pem)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return try NIOSSLContext(configuration: configuration)
    }

    private static func version(of files: TLSFiles) -> Version {
        Version(
            certificate: version(ofFile: files.certificate), key: version(ofFile: files.key))
    }

    private static func version(ofFile path: String) -> FileVersion {
        do {
            // What a link points to counts: certificates are renewed by changing links.
            let file = URL(filePath: path).resolvingSymlinksInPath().path
            let attributes = try FileManager.default.attributesOfItem(atPath: file)
            return FileVersion(
                modified: attributes[.modificationDate] as? Date,
                bytes: attributes[.size] as? UInt64,
                number: attributes[.systemFileNumber] as? UInt64)
        } catch {
            return FileVersion()  // It is not there, which differs from any that is.
        }
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case NIOSSLError.failedToLoadCertificate: "there is no certificate in the file"
        case NIOSSLError.failedToLoadPrivateKey: "there is no private key in the file"
        default: "\(error)"
        }
    }
}
