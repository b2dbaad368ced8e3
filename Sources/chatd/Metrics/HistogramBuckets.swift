/// The upper bounds of a histogram's buckets, chosen by the unit that ends the metric's name.
///
/// Fixed, so that histograms of all servers can be added up. The bucket above the last bound, which
/// takes the rest, is not among them.
enum HistogramBuckets {
    /// - Parameter name: such as `router_commit_seconds`; without a known unit it counts as rows.
    static func bounds(for name: String) -> [Double] {
        if name.hasSuffix("_seconds") { return seconds }
        return name.hasSuffix("_bytes") ? bytes : rows
    }

    /// From a fast commit to what everybody calls broken; steps of two to two and a half tell a
    /// median that doubles.
    private static let seconds = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]

    /// Doubling: a batch is one row, full, or something between.
    private static let rows: [Double] = (0...10).map { Double(1 << $0) }

    /// Powers of 4, from 64 B to 16 MiB: sizes spread far, and their magnitude is what matters.
    private static let bytes: [Double] = (3...12).map { Double(1 << (2 * $0)) }
}
