import NIOCore

/// Decides when a room hears who came and who went: at once when it has heard nothing for a beat,
/// else once that beat is over, in one frame.
struct PresenceNews: Sendable {
    /// What a `presence` frame says.
    struct Frame: Equatable {
        var count: Int
        var joined: [String]
        var left: [String]
    }

    private let interval: Duration
    private let namesAtMost: Int
    private var lastSent: ContinuousClock.Instant?
    /// Whether the last frame said only the count, so that readers lack the names.
    private var namesAreMissing = false
    private var lastCount = 0

    init(limits: ChatLimits) {
        interval = limits.room.presenceInterval
        namesAtMost = limits.presenceNames
    }

    /// The whole room, for somebody who has just come.
    func whole(of presence: Presence) -> Frame {
        let isNamed = isNamed(presence)
        return Frame(
            count: presence.count, joined: isNamed ? presence.users.sorted() : [], left: [])
    }

    /// Whether names are told; not while some of them are unknown.
    private func isNamed(_ presence: Presence) -> Bool {
        presence.count <= namesAtMost && presence.nameless == 0
    }

    /// The frame that is due now, if any; takes the changes out of `presence`.
    mutating func due(
        _ presence: inout Presence, now: ContinuousClock.Instant
    ) -> Frame? {
        guard !presence.changes.isEmpty || presence.count != lastCount else { return nil }
        if let lastSent, now - lastSent < interval { return nil }
        return take(&presence, now: now)
    }

    /// Forgets the changes, because nobody is there to hear them.
    mutating func skip(_ presence: inout Presence) {
        _ = presence.takeChanges()
        lastCount = presence.count
        namesAreMissing = !isNamed(presence)
        lastSent = nil
    }

    private mutating func take(
        _ presence: inout Presence, now: ContinuousClock.Instant
    ) -> Frame? {
        let changes = presence.takeChanges()
        let count = presence.count
        defer { lastCount = count }
        if !isNamed(presence) {
            namesAreMissing = true
            guard count != lastCount else { return nil }
            lastSent = now
            return Frame(count: count, joined: [], left: [])
        }
        lastSent = now
        if namesAreMissing {
            namesAreMissing = false
            return whole(of: presence)
        }
        return Frame(count: count, joined: changes.joined.sorted(), left: changes.left.sorted())
    }
}

extension PresenceNews.Frame {
    var encoded: ByteBuffer {
        ServerFrame.presence(count: count, joined: joined, left: left)
    }
}
