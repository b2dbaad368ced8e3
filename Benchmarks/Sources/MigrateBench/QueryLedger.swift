import BenchKit

/// When queries were due and when their answers came, by the monotonic clock.
struct QueryLedger: Codable, Sendable {
    var due: [Int64] = []
    var at: [Int64] = []
    var hasFailed: [Bool] = []
    /// The first ones.
    var errors: [String] = []

    /// How long the queries took that were due in a time, in milliseconds.
    struct Latencies: Sendable {
        var count: Int
        var failed: Int
        var p50: Double
        var p99: Double
        var p999: Double
        var longest: Double
    }

    func latencies(_ window: ClosedRange<Int64>) -> Latencies {
        let places = due.indices.filter { window.contains(due[$0]) }
        let sorted = places.map { Double(at[$0] - due[$0]) / 1e6 }.sorted()
        return Latencies(
            count: places.count, failed: places.count { hasFailed[$0] },
            p50: percentile(0.5, of: sorted), p99: percentile(0.99, of: sorted),
            p999: percentile(0.999, of: sorted), longest: sorted.last ?? 0)
    }
}
