import Logging
import ServiceLifecycle

/// Keeps a keyring as its source has it: a change is taken over while the server runs.
///
/// Keys that were known once stay in use while the source cannot be read. Without any, everything
/// else works: messages carry no receipt, and nobody is asked for lost ones.
struct ReceiptKeeper: Service {
    /// How long one look may take.
    private static let patience: Duration = .seconds(3)
    /// How often the source is looked at. A file is cheap; the catalog changes at most once a year.
    private static let fileInterval: Duration = .seconds(2)
    private static let catalogInterval: Duration = .seconds(60)
    /// The same, while there are no keys at all.
    private static let firstInterval: Duration = .seconds(5)

    let source: ReceiptKeySource
    let keyring: ReceiptKeyring
    let logger: Logger

    /// Looks once.
    func refresh() async throws(ReceiptKeySource.Trouble) {
        let keys = try await source.keys(deadline: .now + Self.patience)
        let wasReady = keyring.isReady
        if keyring.replace(keys), wasReady { logger.info("the keys of receipts have changed") }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var lastTrouble = ""
            while !Task.isCancelled {
                do {
                    try await Task.sleep(for: interval)
                } catch {
                    return
                }
                do throws(ReceiptKeySource.Trouble) {
                    try await refresh()
                    lastTrouble = ""
                } catch {
                    // Told once, not at every look.
                    if error.description != lastTrouble { warn(of: error) }
                    lastTrouble = error.description
                }
            }
        }
    }

    func warn(of trouble: ReceiptKeySource.Trouble) {
        logger.warning(
            keyring.isReady
                ? "the keys of receipts cannot be read; those that are known stay in use"
                : "no keys for receipts yet; messages carry none until then",
            metadata: ["error": "\(trouble)"])
    }

    private var interval: Duration {
        guard keyring.isReady else { return Self.firstInterval }
        return switch source {
        case .file: Self.fileInterval
        case .catalog: Self.catalogInterval
        }
    }
}
