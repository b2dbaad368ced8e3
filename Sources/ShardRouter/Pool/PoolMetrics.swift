import CoreMetrics

/// What a pool tells swift-metrics.
struct PoolMetrics: Sendable {
    let leaseWait: Timer
    private let idle: Meter
    private let leased: Meter
    private let connecting: Meter
    private let waiting: Meter
    private let connects: Counter
    private let failures: Counter

    init(shard: String, factory: any MetricsFactory) {
        let label = [("shard", shard)]
        func connections(_ state: String) -> Meter {
            Meter(
                label: "router_pool_connections", dimensions: label + [("state", state)],
                factory: factory)
        }
        func connects(_ outcome: String) -> Counter {
            Counter(
                label: "router_connects_total", dimensions: label + [("outcome", outcome)],
                factory: factory)
        }
        leaseWait = Timer(label: "router_lease_wait_seconds", dimensions: label, factory: factory)
        waiting = Meter(label: "router_pool_waiting", dimensions: label, factory: factory)
        idle = connections("idle")
        leased = connections("leased")
        connecting = connections("connecting")
        self.connects = connects("ok")
        failures = connects("failed")
    }

    func measure(_ state: PoolState) {
        idle.set(state.idleCount)
        leased.set(state.leased.count + state.resetting.count)
        connecting.set(state.connecting.count)
        waiting.set(state.waiting)
    }

    func connected() { connects.increment() }
    func connectFailed() { failures.increment() }
}
