import NIOCore
import Synchronization

/// Whether the server is fit for traffic, and how each thing that it needs is.
///
/// Fit means that somebody can chat: at least one shard answers.
/// Without the catalog, without pub/sub or without some of the shards the rest works on, and a
/// load balancer that took all servers away for that would make it worse.
actor Readiness {
    struct Report: Equatable {
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
    private var last: (health: StoreHealth, at: ContinuousClock.Instant)?
    private var isAsking = false

    /// - Parameter isDraining: whether the server takes no more sockets.
    init(
        store: any MessageStore, pubSub: any PubSub, limits: TransportLimits,
        isDraining: @escaping @Sendable () -> Bool = { false }
    ) {
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
            name: "pubsub", isReachable: isHeard,
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
        last = (health, .now)
        return health
    }
}

extension Readiness.Report {
    /// `{"ready":true,"draining":false,"dependencies":[{"name":"catalog","state":"up","reason":""}]}`
    var encoded: ByteBuffer {
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
            json.string(part.reason)
            json.raw("}")
        }
        json.raw("]}")
        return json.buffer
    }
}
