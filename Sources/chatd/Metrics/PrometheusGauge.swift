import CoreMetrics
import Synchronization

/// A value that goes up and down: what was set or recorded last. Recording takes no lock and no
/// memory.
final class PrometheusGauge: MeterHandler, RecorderHandler {
    private let value = Atomic<Double>(0)

    var number: Double { value.load(ordering: .relaxed) }

    /// The value as `/metrics` writes it.
    var text: String { PrometheusText.number(value.load(ordering: .relaxed)) }

    func set(_ value: Int64) { set(Double(value)) }

    func set(_ value: Double) { self.value.store(value, ordering: .relaxed) }

    func increment(by amount: Double) { value.increase(by: amount) }

    func decrement(by amount: Double) { value.increase(by: -amount) }

    func record(_ value: Int64) { set(Double(value)) }

    func record(_ value: Double) { set(value) }
}
