import CoreMetrics
import Synchronization

/// How values spread over buckets; times in seconds. Recording takes no lock and no memory.
final class PrometheusHistogram: RecorderHandler, TimerHandler {
    /// What was recorded up to one moment, more or less: recording goes on meanwhile.
    struct Snapshot: Equatable {
        /// Values up to each bound, those below it included; the last is the count of all.
        var cumulated: [UInt64]
        var sum: Double
    }

    private final class Bucket: Sendable {
        let count = Atomic<UInt64>(0)
    }

    /// Upper bounds, rising; one more bucket takes the rest.
    let bounds: [Double]
    private let buckets: [Bucket]
    private let sum = Atomic<Double>(0)

    init(bounds: [Double]) {
        precondition(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "bounds rise")
        self.bounds = bounds
        buckets = (0...bounds.count).map { _ in Bucket() }
    }

    var snapshot: Snapshot {
        var total: UInt64 = 0
        let cumulated = buckets.map { bucket in
            total &+= bucket.count.load(ordering: .relaxed)
            return total
        }
        return Snapshot(cumulated: cumulated, sum: sum.load(ordering: .relaxed))
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1_000_000_000) }

    func record(_ value: Int64) { record(Double(value)) }

    /// What is not a number is ignored.
    func record(_ value: Double) {
        guard value.isFinite else { return }
        var index = 0
        while index < bounds.count, value > bounds[index] { index += 1 }
        buckets[index].count.wrappingAdd(1, ordering: .relaxed)
        sum.increase(by: value)
    }
}
