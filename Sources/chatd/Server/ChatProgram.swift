import CoreMetrics
import FoundationEssentials
import Glibc
import Logging
import NIOCore
import ServiceLifecycle
import ShardRouter
import Synchronization
import UnixSignals

/// Why the program ended, in words for people.
struct ProgramError: Error, CustomStringConvertible {
    var description: String
    /// 1 for what failed, 2 for what is refused.
    var exitCode: Int32 = 1
}

/// One chatd from start to end.
struct ChatProgram: Sendable {
    let configuration: ServerConfiguration
    let logger: Logger
    var limits = ChatLimits()
    var transport = TransportLimits()

    /// Runs until a signal ends it.
    ///
    /// - Throws: What hindered it from starting, or ended it.
    func run() async throws(ProgramError) {
        // A reader of our output that went away must not end the chat.
        signal(SIGPIPE, SIG_IGN)
        let connections = min(
            transport.connections,
            OpenFiles.raiseLimit(to: transport.connections + transport.reservedDescriptors)
                - transport.reservedDescriptors)
        let keyFile = try await openKeyFile()
        let certificates = try configuration.tls.map { files throws(ProgramError) in
            try TLSCertificates(
                files: files, interval: transport.certificateInterval, logger: logger)
        }
        let registry = PrometheusRegistry(logger: logger)
        MetricsSystem.bootstrap(registry)
        let spool = try await openSpool(registry)
        let router = try await startRouter(registry, spool)
        var limits = limits
        limits.shared = configuration.shared
        try await check(spool, router)
        let receipts = try await openReceipts()
        let store = RouterMessageStore(router: router, catalog: configuration.catalog)
        let pubSub = makePubSub(clusterID: router.topology.clusterID)
        let chat = ChatServer(
            store: store, pubSub: pubSub, serverName: configuration.serverName, limits: limits,
            receipts: receipts.keyring, logger: logger, metrics: ChatMetrics(factory: registry),
            authenticator: authenticator(keyFile))
        let door = ChatTransport(
            ChatTransport.Contents(
                chat: chat, store: store, pubSub: pubSub, origins: configuration.origins,
                limits: limits, transport: transport,
                addresses: AddressBook(
                    proxies: configuration.proxies, limits: configuration.addresses),
                reading: configuration.reading,
                certificates: certificates, registry: registry),
            bind: configuration.bind, connections: max(1, connections), logger: logger
        ) { port in self.sayReady(port: port) }
        // Ended from the last to the first: each lets go of what the ones before it still need.
        let room = ServiceUntilItsTurn(service: chat)
        var services: [any Service] = [pubSub, receipts, router, door.sockets, room, door.listener]
        if let spool {
            let drainer = SpoolDrainer(spool: spool, router: router, logger: logger) {
                chat.drained($0, $1)
            }
            services = [
                pubSub, receipts, spool, router, drainer, door.sockets, room, door.listener,
            ]
        }
        if let keyFile { services.insert(keyFile, at: 0) }
        if let bind = configuration.admin {
            let responder = AdminResponder(
                chat: chat, registry: registry, readiness: door.readiness)
            services.insert(
                AdminListener(bind: bind, responder: responder, logger: logger), at: 0)
        }
        if let certificates { services.insert(certificates, at: 0) }
        var group = ServiceGroupConfiguration(
            services: services.map { service in
                ServiceGroupConfiguration.ServiceConfiguration(
                    service: service, successTerminationBehavior: .gracefullyShutdownGroup)
            }, logger: quietLogger)
        group.maximumGracefulShutdownDuration = transport.stopPatience
        try await run(ServiceGroup(configuration: group), chat)
    }

    private var quietLogger: Logger {
        var logger = logger
        logger.logLevel = max(logger.logLevel, .notice)
        return logger
    }

    // MARK: Start

    /// The keys that prove tokens; nil when there are no tokens.
    private func openKeyFile() async throws(ProgramError) -> KeyFile? {
        guard case .tokens(let settings) = configuration.authentication else { return nil }
        do throws(KeyFileError) {
            return try await KeyFile.open(settings.keys, logger: logger)
        } catch {
            throw ProgramError(
                description: "the keys in \(settings.keys) cannot be used: \(error); "
                    + "see \(Setting.jwtKeys.flag)")
        }
    }

    private func authenticator(_ keyFile: KeyFile?) -> any Authenticator {
        guard let keyFile, case .tokens(let settings) = configuration.authentication else {
            return OpenAuthenticator(rights: configuration.openRights)
        }
        return TokenAuthenticator {
            TokenVerifier(
                keys: keyFile.keys, audience: settings.audience, issuer: settings.issuer)
        }
    }

    /// The spool of this server; nil when it has no place for one.
    private func openSpool(
        _ metrics: any MetricsFactory
    ) async throws(ProgramError) -> Spool? {
        let advice = "messages are refused while their shard is out of reach; see --spool-dir"
        guard let place = configuration.spool else {
            logger.warning("no spool", metadata: ["advice": "\(advice)"])
            return nil
        }
        do throws(SpoolError) {
            let spool = try await Spool.open(place.folder, factory: metrics, logger: logger)
            place.warnOfOthers(logger)
            return spool
        } catch {
            guard case .unusable = error, !place.isGiven else {
                throw ProgramError(description: "\(error)", exitCode: error.exitCode)
            }
            logger.warning(
                "no spool", metadata: ["advice": "\(advice)", "error": "\(error)"])
            return nil
        }
    }

    /// The keys of receipts. A file must be good; the catalog may be away, and is asked again.
    private func openReceipts() async throws(ProgramError) -> ReceiptKeeper {
        let keeper = ReceiptKeeper(
            source: configuration.receiptKeys, keyring: ReceiptKeyring(), logger: logger)
        do throws(ReceiptKeySource.Trouble) {
            try await keeper.refresh()
        } catch {
            if case .file = configuration.receiptKeys {
                throw ProgramError(description: "the keys of receipts: \(error)", exitCode: 64)
            }
            keeper.warn(of: error)
        }
        return keeper
    }

    /// Messages of another cluster must not get into this one's rooms.
    private func check(_ spool: Spool?, _ router: ShardRouter) async throws(ProgramError) {
        do throws(SpoolError) {
            try await spool?.bind(to: router.topology.clusterID)
        } catch {
            throw ProgramError(description: "\(error)", exitCode: error.exitCode)
        }
    }

    private func startRouter(
        _ metrics: any MetricsFactory, _ spool: Spool?
    ) async throws(ProgramError) -> ShardRouter {
        var router = RouterConfiguration(
            catalog: configuration.catalog, topologyFile: configuration.topologyFile,
            applicationName: "chatd")
        router.metricsFactory = metrics
        router.overflow = spool
        do throws(RouterStartError) {
            return try await ShardRouter.start(router, logger: logger)
        } catch {
            throw ProgramError(description: "\(error)")
        }
    }

    private func makePubSub(clusterID: UUID) -> any PubSub {
        guard let redis = configuration.redis else {
            logger.info("no Redis is named: this server is the only one of its cluster")
            return InProcessPubSub()
        }
        return RedisPubSub(
            url: redis, tls: configuration.redisTLS,
            prefix: "chat:\(clusterID.uuidString.lowercased()):",
            serverName: configuration.serverName, logger: logger)
    }

    private func sayReady(port: Int) {
        var address = configuration.bind
        address.port = port
        let scheme = configuration.tls == nil ? "http" : "https"
        print("chatd \(configuration.serverName) listening on \(scheme)://\(address)")
        fflush(nil)
    }

    // MARK: Life

    private func run(_ group: ServiceGroup, _ chat: ChatServer) async throws(ProgramError) {
        let isStopping = Flag()
        do {
            // Trapped before anything runs, so that no early signal is lost.
            let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { await obey(signals, group, chat, isStopping) }
                do {
                    try await group.run()
                } catch {
                    tasks.cancelAll()
                    throw error
                }
                tasks.cancelAll()
            }
        } catch {
            guard isStopping.isRaised else { throw ProgramError(description: reason(error)) }
            logger.warning(
                "stopping took too long; what still ran was cut off",
                metadata: ["error": "\(error)"])
        }
    }

    /// The first signal stops the server in order, the second one at once.
    private func obey(
        _ signals: UnixSignalsSequence, _ group: ServiceGroup, _ chat: ChatServer,
        _ isStopping: Flag
    ) async {
        await withTaskGroup(of: Void.self) { tasks in
            for await signal in signals {
                guard !isStopping.isRaised else { _exit(128 + signal.rawValue) }
                isStopping.raise()
                logger.info("stopping", metadata: ["signal": "\(signal)"])
                tasks.addTask {
                    chat.takeNoMore()
                    logger.info(
                        "draining", metadata: ["drain.time": "\(configuration.drainTime)"])
                    // Requests are answered meanwhile: load balancers ask whether we are ready.
                    await chat.drain(over: configuration.drainTime)
                    chat.stop()
                    await group.triggerGracefulShutdown()
                }
                tasks.addTask { await endAtDeadline() }
            }
            tasks.cancelAll()
        }
    }

    private func endAtDeadline() async {
        do {
            try await Task.sleep(for: configuration.drainTime + transport.stopDeadline)
        } catch {
            return  // Everything ended in time.
        }
        logger.warning("stopping took too long; what still ran was cut off")
        exit(0)
    }

    private func reason(_ error: any Error) -> String {
        let address = configuration.bind
        guard let error = error as? IOError else {
            if error is SocketAddressError {
                return "cannot listen on \(address): there is no such host; "
                    + "choose another address with --bind"
            }
            return "\(error)"
        }
        switch error.errnoCode {
        case EADDRINUSE:
            return "cannot listen on \(address): address already in use; stop the other program "
                + "or choose another with --bind"
        case EACCES:
            return "cannot listen on \(address): permission denied; ports below 1024 need rights, "
                + "choose another with --bind"
        case EADDRNOTAVAIL:
            return "cannot listen on \(address): this machine does not have that address; "
                + "choose another with --bind"
        default:
            return "cannot listen on \(address): \(String(cString: strerror(error.errnoCode)))"
        }
    }
}

/// A service that may be done before its turn to stop has come: the group would take that for a
/// failure and cut off all others.
private struct ServiceUntilItsTurn: Service {
    let service: any Service

    func run() async throws {
        try await service.run()
        try await gracefulShutdown()
    }
}

/// Raised once, by one task, and seen by others.
private final class Flag: Sendable {
    private let value = Atomic<Bool>(false)

    var isRaised: Bool { value.load(ordering: .acquiring) }

    func raise() {
        value.store(true, ordering: .releasing)
    }
}

/// How many files and sockets this process may open.
enum OpenFiles {
    /// Raises the limit as far as it is needed and allowed.
    ///
    /// - Returns: the limit from now on.
    static func raiseLimit(to wished: Int) -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return 1_024  // What every system allows.
        }
        let needed = min(rlim_t(wished), limit.rlim_max)
        guard limit.rlim_cur < needed else { return Int(clamping: limit.rlim_cur) }
        let before = limit.rlim_cur
        limit.rlim_cur = needed
        let isRaised = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        return Int(clamping: isRaised ? needed : before)
    }
}
