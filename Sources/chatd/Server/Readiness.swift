import Logging
import NIOCore
import Synchronization

/// Whether the server is fit for traffic, and how each thing that it needs is.
///
/// Fit means that somebody can chat: at least one shard answers.
/// Without the catalog, without pub/sub or without some of the shards the rest works on, and a
/// load balancer that took all servers away for that would make it worse.
actor Readiness {
    struct Report: Equatable {
        /// The one whose reason is of this program's own words.
        static let pubSubName = "pubsub"

        var isReady: Bool
        /// The server is about to stop.
        var isDraining = false
        /// The catalog, each shard, pub/sub.
        var dependencies: [StoreHealth.Part]
    }

    private let store: any MessageStore
    private let pubSub: any PubSub
    private let limits: TransportLimits
    private let isDraining: @Sendable () -> Bool
    private let logger: Logger?
    private var last: (health: StoreHealth, at: ContinuousClock.Instant)?
    private var isAsking = false

    /// - Parameters:
    ///   - isDraining: whether the server takes no more sockets.
    ///   - logger: told what went away, with the whole reason, and what came back.
    init(
        store: any MessageStore, pubSub: any PubSub, limits: TransportLimits,
        isDraining: @escaping @Sendable () -> Bool = { false }, logger: Logger? = nil
    ) {
        self.logger = logger
        self.isDraining = isDraining
        self.store = store
        self.pubSub = pubSub
        self.limits = limits
    }

    /// How things are now, or were a moment ago. Never waits long.
    func report() async -> Report {
        let health = await health()
        let isHeard = pubSub.isConnected
        let pubSub = StoreHealth.Part(
            name: Report.pubSubName, isReachable: isHeard,
            reason: isHeard
                ? "" : "other servers cannot be heard; their messages come from the shards")
        let shards = health.parts.filter { $0.name != "catalog" }
        let isDraining = isDraining()
        return Report(
            isReady: !isDraining && shards.contains(where: \.isReachable), isDraining: isDraining,
            dependencies: health.parts + [pubSub])
    }

    private func health() async -> StoreHealth {
        if let last, isAsking || .now - last.at < limits.readinessAge { return last.health }
        isAsking = true
        let health = await store.health(patience: limits.readinessPatience)
        isAsking = false
        tell(health)
        last = (health, .now)
        return health
    }

    /// Logs what differs from the last time.
    private func tell(_ health: StoreHealth) {
        for part in health.parts {
            let before = last?.health.parts.first { $0.name == part.name }
            switch (before?.isReachable ?? true, part.isReachable) {
            case (true, true): break
            case (false, true):
                logger?.info("a dependency is back", metadata: ["dependency": "\(part.name)"])
            case (false, false) where before?.trouble == part.trouble: break
            case (_, false):
                logger?.warning(
                    "a dependency cannot be reached",
                    metadata: ["dependency": "\(part.name)", "error": "\(part.reason)"])
            }
        }
    }
}

extension StoreHealth.Part {
    /// Why it cannot be reached; nil when it can.
    fileprivate var trouble: DependencyTrouble? {
        isReachable ? nil : DependencyTrouble(reason)
    }
}

extension Readiness.Report {
    /// `{"ready":true,"draining":false,"dependencies":[{"name":"catalog","state":"up","reason":""}]}`
    ///
    /// - Parameter isForOperators: whether reasons are told in full, with names of hosts.
    func encoded(isForOperators: Bool = false) -> ByteBuffer {
        var json = JSONWriter(capacity: 512)
        json.raw("{\"ready\":")
        json.boolean(isReady)
        json.raw(",\"draining\":")
        json.boolean(isDraining)
        json.raw(",\"dependencies\":[")
        for (index, part) in dependencies.enumerated() {
            if index > 0 { json.raw(",") }
            json.raw("{\"name\":")
            json.string(part.name)
            json.raw(",\"state\":")
            json.string(part.isReachable ? "up" : "down")
            json.raw(",\"reason\":")
            let isOwn = part.name == Self.pubSubName
            json.string(
                isForOperators || isOwn ? part.reason : part.trouble.map(\.rawValue) ?? "")
            json.raw("}")
        }
        json.raw("]}")
        return json.buffer
    }
}
