/// What one run measured, ours or a rival's.
package struct Run: Codable, Sendable {
    package var rows = 0
    /// With those of the warm-up.
    package var allRows = 0
    package var rowsPerSecond = 0.0
    package var seconds = 0.0
    /// Of the client process.
    package var cpuSeconds = 0.0
    /// In microseconds.
    package var p50 = 0.0
    package var p99 = 0.0
    /// Of the servers; added by whoever watched them.
    package var serverCPUSeconds: Double?
    /// Rows in one transaction, on average.
    package var batchRows: Double?

    package init(
        rows: Int = 0, allRows: Int = 0, rowsPerSecond: Double = 0, seconds: Double = 0,
        cpuSeconds: Double = 0, p50: Double = 0, p99: Double = 0, serverCPUSeconds: Double? = nil
    ) {
        (self.rows, self.allRows, self.rowsPerSecond) = (rows, allRows, rowsPerSecond)
        (self.seconds, self.cpuSeconds, self.serverCPUSeconds) =
            (seconds, cpuSeconds, serverCPUSeconds)
        (self.p50, self.p99) = (p50, p99)
    }
}
