import CoreMetrics

/// What the spool tells swift-metrics.
struct SpoolMetrics: Sendable {
    let pendingRows: Meter
    let pendingBytes: Meter
    let taken: Counter
    let drained: Counter
    let refused: Counter
    let full: Counter
    let damaged: Counter
    let commit: Timer

    init(factory: any MetricsFactory) {
        pendingRows = Meter(label: "chatd_spool_pending_rows", factory: factory)
        pendingBytes = Meter(label: "chatd_spool_pending_bytes", factory: factory)
        taken = Counter(label: "chatd_spool_taken_total", factory: factory)
        drained = Counter(label: "chatd_spool_drained_total", factory: factory)
        refused = Counter(label: "chatd_spool_refused_total", factory: factory)
        full = Counter(label: "chatd_spool_full_total", factory: factory)
        damaged = Counter(label: "chatd_spool_damaged_total", factory: factory)
        commit = Timer(label: "chatd_spool_commit_seconds", factory: factory)
    }
}
