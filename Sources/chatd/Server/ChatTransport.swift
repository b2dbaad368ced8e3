import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// The door of a server: what listens, and what is behind it.
///
/// Run both services; ``sockets`` must end after the chat has closed its sockets, ``listener``
/// before.
struct ChatTransport: Sendable {
    /// What is served, and how.
    struct Contents: Sendable {
        var chat: ChatServer
        var store: any MessageStore
        var pubSub: any PubSub
        var origins = OriginRule()
        var limits = ChatLimits()
        var transport = TransportLimits()
        var files = WebFiles()
        var addresses = AddressBook()
        var reading = ReadingLimits()
        /// Nil: plain HTTP.
        var certificates: TLSCertificates?
        /// What `/metrics` tells.
        var registry: PrometheusRegistry
    }

    let listener: any Service
    let sockets = OpenSockets()
    let readiness: Readiness

    /// - Parameters:
    ///   - bind: with port 0 any free port is taken.
    ///   - connections: at most; see ``TransportLimits/connections``.
    ///   - onListening: called with the real port as soon as connections are accepted.
    init(
        _ contents: Contents, bind: HostAndPort, connections: Int, logger: Logger,
        onListening: @escaping @Sendable (_ port: Int) async -> Void
    ) {
        readiness = Readiness(
            store: contents.store, pubSub: contents.pubSub, limits: contents.transport,
            isDraining: { [chat = contents.chat] in chat.isDraining }, logger: logger)
        let responder = ChatResponder(
            chat: contents.chat, readiness: readiness,
            origins: contents.origins, limits: contents.limits,
            files: contents.files, registry: contents.registry,
            reading: ReadingRates(limits: contents.reading),
            proxies: contents.addresses.proxies)
        contents.addReadings(of: sockets)
        let upgrader = WebSocketUpgrader(
            origins: contents.origins,
            environment: SocketEnvironment(
                messageBytes: contents.limits.frameBytes, limits: contents.transport,
                sockets: sockets, metrics: contents.chat.metrics,
                bye: { [chat = contents.chat] in chat.environment.bye($0, $1) }),
            addresses: contents.addresses, logger: logger,
            isDraining: { [chat = contents.chat] in chat.isDraining },
            makeSession: { [chat = contents.chat] in chat.makeSession(room: $0, credentials: $1) })
        let channel = WebSocketUpgradeChannel(
            responder: { request, writer, channel in
                try await responder.respond(to: request, writer, channel)
            }, upgrader: upgrader, limits: contents.transport, certificates: contents.certificates)
        // Hummingbird tells at `info` what is told by `onListening`.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .notice)
        listener = channel.server(
            configuration: HummingbirdCore.ServerConfiguration(
                address: .hostname(bind.host, port: bind.port ?? 0),
                backlog: contents.transport.backlog,
                availableConnectionsDelegate: .maximum(connections, logger: quiet)),
            onServerRunning: { channel in
                await onListening(channel.localAddress?.port ?? bind.port ?? 0)
            }, eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: quiet)
    }
}

extension ChatTransport.Contents {
    /// What `/metrics` asks for, rather than being told each time it changes.
    fileprivate func addReadings(of sockets: OpenSockets) {
        ProcessReadings.add(to: registry)
        registry.read("chatd_sockets", .gauge) { Double(sockets.count) }
        registry.read("chatd_rooms", .gauge) { [chat] in Double(chat.roomCount) }
        registry.read("chatd_pubsub_connected", .gauge) { [pubSub] in pubSub.isConnected ? 1 : 0 }
        registry.read("chatd_pubsub_dropped_total", .counter) { [pubSub] in
            Double(pubSub.droppedCount)
        }
    }
}
