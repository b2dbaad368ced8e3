/// How fast a shard stores, smoothed over the last batches.
struct WriteRate {
    private var rowsPerSecond = 0.0

    mutating func add(_ rows: Int, in duration: Duration) {
        let seconds = max(duration / .seconds(1), 1e-6)
        let measured = Double(rows) / seconds
        rowsPerSecond = rowsPerSecond == 0 ? measured : rowsPerSecond * 0.9 + measured * 0.1
    }

    /// How long `rows` take at this rate.
    func duration(of rows: Int) -> Duration {
        rowsPerSecond > 0 ? .seconds(Double(rows) / rowsPerSecond) : .zero
    }
}
