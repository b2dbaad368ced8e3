import CoreMetrics
import Logging
import Synchronization

/// What a router tells swift-metrics. Handles are made once for a shard; names are in
/// `docs/operating.md`.
final class RouterMetrics: Sendable {
    /// The version of the topology that is in use.
    let epoch: Meter
    /// 1 while the catalog answers.
    let catalogUp: Meter
    let topologyChanges: Counter
    private let factory: any MetricsFactory
    private let shards = Mutex<[ShardID: ShardMetrics]>([:])

    init(factory: any MetricsFactory) {
        self.factory = factory
        epoch = Meter(label: "router_topology_epoch", factory: factory)
        catalogUp = Meter(label: "router_catalog_up", factory: factory)
        topologyChanges = Counter(label: "router_topology_changes_total", factory: factory)
    }

    /// The handles of a shard; `name` is its label.
    func shard(_ id: ShardID, name: String) -> ShardMetrics {
        shards.withLock { shards in
            if let known = shards[id] { return known }
            let new = ShardMetrics(shard: name, factory: factory)
            shards[id] = new
            return new
        }
    }

    /// The handles of a shard that was named before.
    subscript(_ id: ShardID) -> ShardMetrics? { shards.withLock { $0[id] } }

    /// Tells metrics and the log that messages are turned away from a shard, or not any more.
    func tell(_ change: CircuitChange, _ logger: Logger) {
        switch change {
        case .opened(let shard, let reason):
            self[shard]?.circuitOpen.set(1)
            self[shard]?.circuitOpened.increment()
            logger.warning(
                "shard does not store, its messages are turned away until it does",
                metadata: ["shard.id": "\(shard)", "error": "\(reason)"])
        case .closed(let shard):
            self[shard]?.circuitOpen.set(0)
            logger.info("shard answers again", metadata: ["shard.id": "\(shard)"])
        }
    }
}

/// What is counted and measured for one shard. A class: it is looked up for every message, and one
/// reference is counted then, not one for each handle.
final class ShardMetrics: Sendable {
    /// Messages that wait or are on their way, and their bytes.
    let queueRows: Meter
    let queueBytes: Meter
    let batchRows: Recorder
    /// From sending a batch to the shard's answer: one round trip and one commit.
    let commit: Timer
    /// From the caller's call to its outcome.
    let write: Timer
    let read: Timer
    let redirects: Counter
    /// 1 while messages are turned away.
    let circuitOpen: Meter
    let circuitOpened: Counter
    private let retries: [RetryReason: Counter]
    private let writes: [WriteLabel: Counter]
    private let reads: [ReadLabel: Counter]

    init(shard: String, factory: any MetricsFactory) {
        let label = [("shard", shard)]
        queueRows = Meter(label: "router_queue_rows", dimensions: label, factory: factory)
        queueBytes = Meter(label: "router_queue_bytes", dimensions: label, factory: factory)
        batchRows = Recorder(
            label: "router_batch_rows", dimensions: label, aggregate: true, factory: factory)
        commit = Timer(label: "router_commit_seconds", dimensions: label, factory: factory)
        write = Timer(label: "router_write_seconds", dimensions: label, factory: factory)
        read = Timer(label: "router_read_seconds", dimensions: label, factory: factory)
        redirects = Counter(label: "router_redirects_total", dimensions: label, factory: factory)
        circuitOpen = Meter(label: "router_circuit_open", dimensions: label, factory: factory)
        circuitOpened = Counter(
            label: "router_circuit_opened_total", dimensions: label, factory: factory)
        retries = counters("router_retries_total", label, "reason", factory)
        writes = counters("router_writes_total", label, "outcome", factory)
        reads = counters("router_reads_total", label, "outcome", factory)
    }

    func retried(_ reason: RetryReason) { retries[reason]?.increment() }

    func wrote(_ outcome: WriteLabel, count: Int = 1) {
        if count > 0 { writes[outcome]?.increment(by: count) }
    }

    func answered(_ outcome: ReadLabel) { reads[outcome]?.increment() }
}

/// Why something was sent again.
enum RetryReason: String, CaseIterable {
    /// No connection came about.
    case connection
    /// No connection was free.
    case busy
    /// The connection died while the batch was on its way.
    case lost
    /// The shard did not answer in time.
    case timeout
    case deadlock
    case serialization
    /// Another transaction held a lock for too long.
    case lock
    /// The server is a standby, or was made read-only.
    case readOnly
    /// Of disk, memory or connections.
    case shortage
    case shutdown
    case other
}

/// How a write ended, as a label.
enum WriteLabel: String, CaseIterable {
    case stored, duplicate, queued, conflict, refused, overloaded, unavailable, unknown, stopped
}

/// How a read or a transaction ended, as a label.
enum ReadLabel: String, CaseIterable {
    case ok, failed
}

private func counters<Label: CaseIterable & Hashable & RawRepresentable<String>>(
    _ name: String, _ label: [(String, String)], _ key: String, _ factory: any MetricsFactory
) -> [Label: Counter] {
    let counters = Label.allCases.map { value in
        let dimensions = label + [(key, value.rawValue)]
        return (value, Counter(label: name, dimensions: dimensions, factory: factory))
    }
    return Dictionary(uniqueKeysWithValues: counters)
}

extension WriteLabel {
    init(_ outcome: Result<WriteOutcome, WriteError>) {
        switch outcome {
        case .success(.stored(let receipt)): self = receipt.isDuplicate ? .duplicate : .stored
        case .success(.queued): self = .queued
        case .failure(let error):
            switch error {
            case .overloaded: self = .overloaded
            case .conflict: self = .conflict
            case .refused: self = .refused
            case .unavailable: self = .unavailable
            case .unknownOutcome: self = .unknown
            case .stopped: self = .stopped
            }
        }
    }
}

extension Timer {
    func record(since start: ContinuousClock.Instant) {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        recordNanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
