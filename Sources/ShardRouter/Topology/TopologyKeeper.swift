import CoreMetrics
import Logging
import Postgres
import Synchronization

/// Knows the topology, and hears when it changes.
///
/// Loads it once, listens to the catalog, polls as a backstop, and keeps the last one in a file.
/// While the catalog is away everything goes on with what is known.
final class TopologyKeeper: Sendable {
    let table = OwnerTable()
    /// The same for ever: a cluster's seed is drawn once.
    let ringHash: RingHash
    private let configuration: RouterConfiguration
    private let metrics: RouterMetrics
    private let logger: Logger
    private let current: Mutex<Topology>
    private let wasUp = Atomic<Bool>(true)
    private let onChange: @Sendable (Topology) async -> Void

    init(
        _ topology: Topology, configuration: RouterConfiguration, metrics: RouterMetrics,
        logger: Logger, onChange: @escaping @Sendable (Topology) async -> Void
    ) {
        self.configuration = configuration
        self.metrics = metrics
        self.logger = logger
        current = Mutex(topology)
        self.onChange = onChange
        ringHash = topology.ringHash
        table.learn(topology)
        metrics.epoch.set(topology.epoch.number)
    }

    var topology: Topology { current.withLock { $0 } }

    /// The catalog's topology, else the file's.
    static func firstTopology(
        _ configuration: RouterConfiguration, logger: Logger
    ) async throws(RouterStartError) -> Topology {
        let file = configuration.topologyFile.map(TopologyFile.init)
        let failure: CatalogError
        do throws(CatalogError) {
            let topology = try await load(configuration)
            write(topology, to: file, logger: logger)
            return topology
        } catch {
            failure = error
        }
        do throws(TopologyFileError) {
            if let topology = try file?.read() {
                logger.warning(
                    "catalog is out of reach, starting from the last known topology",
                    metadata: [
                        "error": "\(failure)", "topology.epoch": "\(topology.epoch)",
                    ])
                return topology
            }
        } catch {
            throw .noTopology(failure, file: "\(error)")
        }
        throw .noTopology(failure, file: file?.path ?? "no file is configured")
    }

    /// Follows the catalog until the task is cancelled.
    func run() async {
        var pause = configuration.limits.firstPause
        while !Task.isCancelled {
            do throws(CatalogError) {
                try await follow {
                    pause = self.configuration.limits.firstPause
                    self.isUp(true)
                }
            } catch {
                guard !Task.isCancelled else { return }
                isUp(false, error)
            }
            do {
                try await Task.sleep(for: pause * Double.random(in: 0.5...1))
            } catch {
                return
            }
            pause = min(pause * 2, configuration.limits.longestPause)
        }
    }

    /// Tells metrics always, and the log once for each change.
    private func isUp(_ isUp: Bool, _ error: (any Error)? = nil) {
        metrics.catalogUp.set(isUp ? 1 : 0)
        guard wasUp.exchange(isUp, ordering: .relaxed) != isUp else { return }
        if isUp {
            logger.info("catalog answers again")
        } else {
            logger.warning(
                "catalog is out of reach, going on with what is known",
                metadata: ["error": "\(error.map { "\($0)" } ?? "")"])
        }
    }

    /// Listens on one connection until it breaks.
    private func follow(_ succeeded: () -> Void) async throws(CatalogError) {
        let limits = configuration.limits
        let name = configuration.catalog.withoutSecrets
        let connection = try await Self.connect(configuration)
        defer { connection.close() }
        try await Self.reaching(name) { () async throws(PostgresError) in
            try await connection.script("listen topology", deadline: .now + limits.catalog)
        }
        while !Task.isCancelled {
            let topology = try await CatalogReader.topology(
                connection, name: name, deadline: .now + limits.catalog)
            succeeded()
            await learn(topology)
            try await Self.reaching(name) { () async throws(PostgresError) in
                _ = try await connection.notifications(until: .now + limits.catalogPoll)
            }
        }
    }

    private static func connect(
        _ configuration: RouterConfiguration
    ) async throws(CatalogError) -> PostgresConnection {
        let name = configuration.catalog.withoutSecrets
        return try await reaching(name) { () async throws(PostgresError) in
            try await PostgresConnection.connect(
                configuration.catalog.findingPrimary,
                deadline: .now + configuration.limits.catalog)
        }
    }

    /// Runs `body`; its failure means that the catalog is out of reach.
    private static func reaching<Value>(
        _ name: String, _ body: () async throws(PostgresError) -> Value
    ) async throws(CatalogError) -> Value {
        do throws(PostgresError) {
            return try await body()
        } catch {
            throw .unreachable(catalog: name, reason: "\(error)")
        }
    }

    /// Takes over `topology` when it is newer than what is known.
    func learn(_ topology: Topology) async {
        let isNew = current.withLock { current in
            guard topology != current, topology.epoch >= current.epoch,
                topology.clusterID == current.clusterID, topology.seed == current.seed
            else { return false }
            current = topology
            return true
        }
        guard isNew else { return }
        table.learn(topology)
        metrics.epoch.set(topology.epoch.number)
        metrics.topologyChanges.increment()
        Self.write(topology, to: configuration.topologyFile.map(TopologyFile.init), logger: logger)
        logger.info("topology changed", metadata: ["topology.epoch": "\(topology.epoch)"])
        await onChange(topology)
    }

    private static func load(
        _ configuration: RouterConfiguration
    ) async throws(CatalogError) -> Topology {
        let connection = try await connect(configuration)
        defer { connection.close() }
        return try await CatalogReader.topology(
            connection, name: configuration.catalog.withoutSecrets,
            deadline: .now + configuration.limits.catalog)
    }

    private static func write(_ topology: Topology, to file: TopologyFile?, logger: Logger) {
        guard let file else { return }
        do throws(TopologyFileError) {
            try file.write(topology)
        } catch {
            logger.warning(
                "cannot keep the last known topology", metadata: ["error": "\(error)"])
        }
    }
}
