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
