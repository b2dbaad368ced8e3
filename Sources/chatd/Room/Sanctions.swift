import Postgres

/// Who may not write in a room, and who may not be there, for how long.
struct Sanctions: Equatable, Sendable {
    struct Sanction: Equatable, Sendable {
        /// When it ends, or ended; nil: never.
        var until: Timestamp?
        /// The place of the event that says so.
        var seq: Int64

        func holds(at time: Timestamp) -> Bool {
            until.map { time < $0 } ?? true
        }
    }

    /// Sanctions that are read from a shard at once, the newest ones.
    static let readAtMost = 10_000
    /// Names up to which nothing is forgotten; above, what is over is.
    private static let remembered = 1_000

    private(set) var mutes: [String: Sanction] = [:]
    private(set) var bars: [String: Sanction] = [:]

    /// The mute of `user` that holds now.
    func mute(of user: String, at time: Timestamp) -> Sanction? {
        mutes[user].flatMap { $0.holds(at: time) ? $0 : nil }
    }

    /// The bar of `user` that holds now.
    func bar(of user: String, at time: Timestamp) -> Sanction? {
        bars[user].flatMap { $0.holds(at: time) ? $0 : nil }
    }

    mutating func addMute(of user: String, _ sanction: Sanction) {
        Self.add(user, sanction, to: &mutes)
    }

    mutating func addBar(of user: String, _ sanction: Sanction) {
        Self.add(user, sanction, to: &bars)
    }

    /// Takes the event with the place `seq` into account, in whatever order events come.
    mutating func obey(_ event: ModerationEvent, seq: Int64) {
        switch event.act {
        case .delete: break
        case .mute(let user, _): addMute(of: user, Sanction(until: event.until, seq: seq))
        case .unmute(let user): addMute(of: user, Sanction(until: event.at, seq: seq))
        case .kick(let user, _):
            // Without an end nobody is barred.
            guard let until = event.until else { break }
            addBar(of: user, Sanction(until: until, seq: seq))
        case .unbar(let user): addBar(of: user, Sanction(until: event.at, seq: seq))
        }
        forget(at: event.at)
    }

    /// Takes what the shard says, and keeps what is newer than it.
    ///
    /// - Parameter head: a place that the shard had reached before it was asked.
    mutating func replace(with read: Sanctions, head: Int64) {
        var merged = read
        for (user, mute) in mutes where mute.seq > head { merged.addMute(of: user, mute) }
        for (user, bar) in bars where bar.seq > head { merged.addBar(of: user, bar) }
        self = merged
    }

    private static func add(
        _ user: String, _ sanction: Sanction, to sanctions: inout [String: Sanction]
    ) {
        if let known = sanctions[user], known.seq > sanction.seq { return }
        sanctions[user] = sanction
    }

    private mutating func forget(at time: Timestamp) {
        guard mutes.count + bars.count > Self.remembered else { return }
        mutes = mutes.filter { $0.value.holds(at: time) }
        bars = bars.filter { $0.value.holds(at: time) }
    }
}
