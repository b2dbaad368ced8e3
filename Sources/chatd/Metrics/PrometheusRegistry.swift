import CoreMetrics
import Logging
import Synchronization

/// The bounds of a server's metrics.
struct PrometheusLimits: Sendable {
    /// Series at most, a histogram being one: some 60 for a server, and as many for each shard.
    /// Far more are labels gone wild; they are not kept.
    var series = 10_000
}

/// The metrics of a process, as Prometheus reads them.
///
/// Handlers with the same name and the same dimensions are one series. Recording never meets the
/// registry's lock: that is for making handlers and for reading.
final class PrometheusRegistry: MetricsFactory {
    enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    enum Series: Sendable {
        case counter(PrometheusCounter)
        case gauge(PrometheusGauge)
        case histogram(PrometheusHistogram)
        /// Asked when the metrics are read; nil while it cannot be told.
        case reading(@Sendable () -> Double?)

        fileprivate var isReading: Bool {
            guard case .reading = self else { return false }
            return true
        }
    }

    /// All series of one name.
    struct Family: Sendable {
        let name: String
        let kind: Kind
        /// By labels, as they are written.
        var series: [String: Series] = [:]
    }

    fileprivate struct State {
        var families: [String: Family] = [:]
        /// What is written before the labels, by the family it belongs to.
        var owners: [String: String] = [:]
        var seriesCount = 0
        var isFull = false
        /// Names whose clash has been logged.
        var clashes: Set<String> = []
    }

    fileprivate enum Refusal {
        case clash, full, known
    }

    private let limits: PrometheusLimits
    private let logger: Logger
    private let state = Mutex(State())

    init(limits: PrometheusLimits = PrometheusLimits(), logger: Logger) {
        self.limits = limits
        self.logger = logger
    }

    /// All families by name, for ``text()``.
    var families: [Family] {
        state.withLock { $0.families.values.sorted { $0.name < $1.name } }
    }

    /// The values of a gauge or a reading, each under its first label's value; empty for none.
    func values(of name: String) -> [(label: String, value: Double)] {
        let series = state.withLock { $0.families[name]?.series ?? [:] }
        return series.sorted { $0.key < $1.key }.compactMap { labels, series in
            let parts = labels.split(separator: "\"", omittingEmptySubsequences: false)
            let label = parts.count > 1 ? String(parts[1]) : "all"
            switch series {
            case .gauge(let gauge): return (label, gauge.number)
            case .reading(let read): return read().map { (label, $0) }
            case .counter, .histogram: return nil
            }
        }
    }

    /// Adds a value that is asked for whenever the metrics are read. The first of a name and
    /// dimensions stays.
    ///
    /// - Parameter read: quick, and from any thread.
    func read(
        _ label: String, _ kind: Kind, dimensions: [(String, String)] = [],
        _ read: @escaping @Sendable () -> Double?
    ) {
        precondition(kind != .histogram, "a reading is one value")
        _ = series(PrometheusText.name(label), kind, dimensions, isReading: true) { .reading(read) }
    }

    // MARK: Series

    /// The series of a name and dimensions, made when it is new; nil when it cannot be.
    private func series(
        _ name: String, _ kind: Kind, _ dimensions: [(String, String)], isReading: Bool = false,
        _ make: () -> Series
    ) -> Series? {
        let labels = PrometheusText.labels(dimensions)
        let (series, refusal) = state.withLock { state -> (Series?, Refusal) in
            if let family = state.families[name] {
                guard family.kind == kind else { return (nil, state.clash(name)) }
                if let known = family.series[labels] {
                    return known.isReading == isReading
                        ? (known, .known) : (nil, state.clash(name))
                }
            } else if Self.samples(name, kind).contains(where: { state.owners[$0] != nil }) {
                return (nil, state.clash(name))
            }
            guard state.seriesCount < limits.series else {
                defer { state.isFull = true }
                return (nil, state.isFull ? .known : .full)
            }
            let series = make()
            for sample in Self.samples(name, kind) { state.owners[sample] = name }
            state.families[name, default: Family(name: name, kind: kind)].series[labels] = series
            state.seriesCount += 1
            return (series, .known)
        }
        warn(refusal, name)
        return series
    }

    /// The names that a family writes in front of its values.
    private static func samples(_ name: String, _ kind: Kind) -> [String] {
        switch kind {
        case .counter, .gauge: [name]
        case .histogram: [name, name + "_bucket", name + "_sum", name + "_count"]
        }
    }

    private func warn(_ refusal: Refusal, _ name: String) {
        switch refusal {
        case .known: break
        case .clash:
            logger.warning(
                "a metric has the name of one of another kind and is not kept",
                metadata: ["metric": "\(name)"])
        case .full:
            logger.warning(
                "there are too many metrics; new ones are not kept", metadata: ["metric": "\(name)"]
            )
        }
    }
}

extension PrometheusRegistry.State {
    fileprivate mutating func clash(_ name: String) -> PrometheusRegistry.Refusal {
        clashes.insert(name).inserted ? .clash : .known
    }
}

// MARK: - For swift-metrics

/// What cannot be kept gets a handler that does nothing.
extension PrometheusRegistry {
    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        counter(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        counter(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        gauge(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        let handler: (any RecorderHandler)? =
            aggregate
            ? histogram(PrometheusText.name(label), dimensions) : gauge(label, dimensions)
        return handler ?? NOOPMetricsHandler.instance
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        histogram(PrometheusText.name(label, suffix: "_seconds"), dimensions)
            ?? NOOPMetricsHandler.instance
    }

    // A series may have more handlers, and what was counted must not vanish: nothing is freed.
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    func destroyMeter(_ handler: any MeterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}

    private func counter(_ label: String, _ dimensions: [(String, String)]) -> PrometheusCounter? {
        let name = PrometheusText.name(label, suffix: "_total")
        switch series(name, .counter, dimensions, { .counter(PrometheusCounter()) }) {
        case .counter(let counter): return counter
        case .gauge, .histogram, .reading, nil: return nil
        }
    }

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> PrometheusGauge? {
        let name = PrometheusText.name(label)
        switch series(name, .gauge, dimensions, { .gauge(PrometheusGauge()) }) {
        case .gauge(let gauge): return gauge
        case .counter, .histogram, .reading, nil: return nil
        }
    }

    private func histogram(
        _ name: String, _ dimensions: [(String, String)]
    ) -> PrometheusHistogram? {
        let bounds = HistogramBuckets.bounds(for: name)
        let made = series(name, .histogram, dimensions) {
            .histogram(PrometheusHistogram(bounds: bounds))
        }
        switch made {
        case .histogram(let histogram): return histogram
        case .counter, .gauge, .reading, nil: return nil
        }
    }
}
