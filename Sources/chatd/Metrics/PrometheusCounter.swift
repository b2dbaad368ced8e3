import CoreMetrics
import Synchronization

/// A count that only grows. Recording takes no lock and no memory.
final class PrometheusCounter: CounterHandler, FloatingPointCounterHandler {
    /// Starts again at 0 after 2^64, which readers of counters take for a restart.
    private let whole = Atomic<UInt64>(0)
    /// What was not counted in whole numbers.
    private let broken = Atomic<Double>(0)

    /// The value as `/metrics` writes it.
    var text: String {
        let whole = whole.load(ordering: .relaxed)
        let broken = broken.load(ordering: .relaxed)
        return broken == 0 ? String(whole) : PrometheusText.number(Double(whole) + broken)
    }

    /// Negative amounts are ignored.
    func increment(by amount: Int64) {
        guard amount > 0 else { return }
        whole.wrappingAdd(UInt64(amount), ordering: .relaxed)
    }

    /// Negative amounts, and those that are not numbers, are ignored.
    func increment(by amount: Double) {
        guard amount > 0, amount.isFinite else { return }
        broken.increase(by: amount)
    }

    func reset() {
        whole.store(0, ordering: .relaxed)
        broken.store(0, ordering: .relaxed)
    }
}

extension Atomic where Value == Double {
    /// Adds without losing what others add meanwhile.
    borrowing func increase(by amount: Double) {
        var known = load(ordering: .relaxed)
        while true {
            let (isExchanged, current) = weakCompareExchange(
                expected: known, desired: known + amount, ordering: .relaxed)
            if isExchanged { return }
            known = current
        }
    }
}
