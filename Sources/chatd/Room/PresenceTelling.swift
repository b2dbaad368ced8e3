import FoundationEssentials

/// Decides what this server tells the others about its people in a room.
///
/// Up to a number of people everybody is named: at once who comes and who leaves, and once per
/// beat all who are here. Above it only how many this server has: once per beat, and when that
/// has changed, but never more than once in the shortest beat. So what servers say to each other
/// about a crowd does not grow with it.
struct PresenceTelling: Sendable {
    typealias Instant = ContinuousClock.Instant

    private let server: UUID
    private let limits: RoomLimits
    private let namesAtMost: Int
    /// What was said last was a number, not names.
    private var isCrowd = false
    private var lastCount = 0
    /// When all of it was told last.
    private var last: Instant?
    /// When the other servers are told next who is here.
    private var next: Instant

    init(server: UUID, limits: ChatLimits, now: Instant) {
        self.server = server
        self.limits = limits.room
        namesAtMost = limits.presenceNames
        next = now
    }

    /// `user` has come to this server.
    func came(_ user: String, presence: Presence, head: Int64) -> RoomEvent? {
        guard !isCrowd, presence.count <= namesAtMost else { return nil }
        return .present([(user: user, remaining: limits.presenceExpiry)], on: server, head: head)
    }

    /// `user` has left this server.
    func left(_ user: String) -> RoomEvent? {
        isCrowd ? nil : .departed(user: user, from: server)
    }

    /// Another server has begun to listen, or this one has: all is told soon.
    ///
    /// Many servers may ask at once, as after a restart of Redis: one answer is for all.
    mutating func asked(now: Instant) {
        let earliest = last.map { $0 + limits.presenceAnswer } ?? now
        next = min(next, max(earliest, now))
    }

    /// All is told now.
    mutating func began(now: Instant) {
        next = now
    }

    /// What is due now.
    mutating func due(presence: Presence, head: Int64, now: Instant) -> [RoomEvent] {
        let wasCrowd = isCrowd
        isCrowd = presence.count > namesAtMost || (isCrowd && isRecent(now))
        guard now >= next || isCrowd != wasCrowd || hasChanged(presence, now) else { return [] }
        last = now
        next = now + limits.presenceBeat
        let users = isCrowd ? [] : presence.localUsers(now: now)
        if isCrowd || (wasCrowd && users.isEmpty) {
            defer { lastCount = presence.localCount }
            let isNews = presence.localCount > 0 || lastCount > 0
            return isNews ? [.counted(presence.localCount, on: server, head: head)] : []
        }
        return stride(from: 0, to: users.count, by: limits.presenceChunk).map { start in
            let end = min(start + limits.presenceChunk, users.count)
            return .present(Array(users[start..<end]), on: server, head: head)
        }
    }

    /// Whether a crowd is of another size, and the last word is some time ago.
    private func hasChanged(_ presence: Presence, _ now: Instant) -> Bool {
        isCrowd && !isRecent(now) && presence.localCount != lastCount
    }

    /// Whether the last word is less than a beat ago. A room that is now a crowd and now is not
    /// names everybody no more often than that.
    private func isRecent(_ now: Instant) -> Bool {
        last.map { now - $0 < limits.presenceInterval } ?? false
    }
}
