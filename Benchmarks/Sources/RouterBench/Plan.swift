/// How long and how often everything is measured.
struct Plan: Sendable {
    var rounds: Int
    /// Of one run.
    var seconds: Double
    /// Before each run.
    var warmup: Double
    var rooms = 10_000
    /// How long a shard stalls while the router's memory is watched.
    var stallSeconds = 60.0
    /// Messages of each room before anything is measured.
    var seededMessages = 20

    static let full = Plan(rounds: 5, seconds: 2, warmup: 0.4)
    static let quick = Plan(rounds: 2, seconds: 0.6, warmup: 0.2, stallSeconds: 8)

    /// The names of the rooms: 36 bytes, as a UUID in text has.
    static func roomName(_ number: Int) -> String {
        let digits = String(number)
        return "room-" + String(repeating: "0", count: 31 - digits.count) + digits
    }

    /// The same names in SQL, for `i`.
    static let roomNameSQL = "'room-' || lpad(i::text, 31, '0')"
}

/// The middle one, or the mean of the two in the middle.
func median(_ values: [Double]) -> Double {
    precondition(!values.isEmpty, "there is a median of something only")
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count.isMultiple(of: 2)
        ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}

/// The smallest of `sorted` that is not below `share` of them.
func percentile(_ share: Double, of sorted: [Double]) -> Double {
    guard !sorted.isEmpty else { return 0 }
    return sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
}
