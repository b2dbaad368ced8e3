import FoundationEssentials
import NIOCore
import Postgres

/// What a room does about events of moderators.
extension RoomState {
    /// Puts an event into effect that has just become known here.
    ///
    /// - Parameter isNew: whether the window lacked it. What happens once, happens then.
    mutating func obey(
        _ event: ModerationEvent, seq: Int64, isNew: Bool = true, _ actions: inout [Action]
    ) {
        sanctions.obey(event, seq: seq)
        switch event.act {
        case .delete(let id):
            let last = max(seq, deletions[id] ?? 0)
            deletions[id] = last
            window.empty(id, deletedBy: last)
        case .kick(let user, _):
            if isNew { sendOut(user, event, &actions) }
        case .mute, .unmute, .unbar: break
        }
    }

    /// The frame of a message as it may be shown: an event that deleted it may have come first.
    func showable(_ frame: ByteBuffer, of id: UUID) -> ByteBuffer {
        guard let seq = deletions[id] else { return frame }
        return ServerFrame.emptied(frame, deletedBy: seq)
    }

    /// Takes the sanctions that the shard has, and sends out those who should not be here.
    ///
    /// - Parameter head: a place that the shard had reached before it was asked.
    mutating func learn(_ read: Sanctions, head: Int64, _ actions: inout [Action]) {
        sanctions.replace(with: read, head: head)
        for (id, member) in members {
            guard let bar = sanctions.bar(of: member.user, at: time) else { continue }
            dismiss(id, .barred(until: bar.until), &actions)
        }
    }

    /// A message that came to this server had been stored before.
    ///
    /// It is not told again: what its author sends may be deleted by now. What the window lacks is
    /// read.
    mutating func repeated(
        seq: Int64, id: UUID, ack: (frame: ByteBuffer, member: MemberID)?, now: Instant
    ) -> [Action] {
        var actions: [Action] = []
        if let ack { actions.append(.send(ack.frame, to: ack.member)) }
        if seq > window.head {
            reads.heard(of: seq, isUrgent: true, now: now)
        } else if let known = window.id(at: seq), known != id {
            reads.contradicted()
        }
        considerReading(now, &actions)
        return actions
    }

    /// Deletions of messages that the window does not cover are the shard's affair alone.
    mutating func forgetDeletions() {
        guard !deletions.isEmpty, let floor = window.floor else { return }
        deletions = deletions.filter { $0.value > floor }
    }

    /// Ends the sockets of `user` that were here when he was kicked. Who came back since, or is told
    /// of by an event that comes late, stays; clocks of servers differ a little.
    private mutating func sendOut(
        _ user: String, _ event: ModerationEvent, _ actions: inout [Action]
    ) {
        let latest = event.at.advanced(by: limits.room.kickTolerance)
        let ending = SessionStateMachine.Ending.sentOut(until: event.until)
        for (id, member) in members where member.user == user && member.joinedAt <= latest {
            dismiss(id, ending, &actions)
        }
    }

    private mutating func dismiss(
        _ id: MemberID, _ ending: SessionStateMachine.Ending, _ actions: inout [Action]
    ) {
        members[id]?.isDismissed = true
        actions.append(.dismiss(id, ending))
    }
}
