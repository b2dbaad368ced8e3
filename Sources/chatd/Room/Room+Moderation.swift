import NIOCore
import Postgres
import ShardRouter

extension Room {
    /// The sanctions as this room knows them; nil until it has read its shard.
    var knownSanctions: Sanctions? {
        ask { $0.window.isAnchored ? $0.sanctions : nil }
    }

    /// The mute of `user` that holds now, as far as it is known.
    func mute(of user: String) -> Sanctions.Sanction? {
        let time = environment.clock.time()
        return ask { $0.sanctions.mute(of: user, at: time) }
    }
}

extension Message {
    /// What its author did to the room; nil for what he wrote.
    var moderation: ModerationEvent? {
        event.flatMap { ModerationEvent(json: $0, at: receivedAt) }
    }
}

extension RoomEnvironment {
    /// What a muted user is told to wait; nil when his mute has no end.
    func wait(for mute: Sanctions.Sanction) -> Duration? {
        mute.until.map { max(.zero, clock.time().duration(to: $0)) }
    }
}
