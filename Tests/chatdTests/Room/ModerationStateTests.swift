import DequeModule
import FoundationEssentials
import NIOCore
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// What a room does about events of moderators.
@Suite struct ModerationStateTests {
    let start = ContinuousClock.Instant.now
    let time = ManualClock().time
    let ada = MemberID(number: 1)
    let bo = MemberID(number: 2)
    var room: RoomState

    init() {
        room = RoomState(server: .numbered(0), limits: ChatLimits(), now: start)
        room.time = time
        _ = room.join(ada, user: "ada", now: start)
        _ = room.filled([], head: 0, isWhole: true, now: start)
        _ = room.join(bo, user: "bo", now: start)
    }

    // MARK: Deleting

    @Test mutating func `a deletion takes the text out of the window`() {
        _ = room.heard(message(1), now: start)
        let before = room.window.bytes

        let actions = room.heard(event(2, .delete(.numbered(1))), now: start)

        #expect(delivered(actions) == [frame(2, event: .delete(.numbered(1)))])
        #expect(texts == ["", ""])
        #expect(room.window.entries[0].frame == emptied(1, by: 2))
        #expect(
            room.window.bytes
                == before + emptied(1, by: 2).readableBytes - frame(1).readableBytes
                + frame(2, event: .delete(.numbered(1))).readableBytes)
    }

    @Test mutating func `a message that comes after its deletion is told without its text`() {
        _ = room.heard(event(2, .delete(.numbered(1))), now: start)
        _ = room.tick(now: start + .seconds(1), isDeaf: false)

        #expect(delivered(room.heard(message(1), now: start)) == [emptied(1, by: 2)])
        let own = room.stored(
            seq: 1, id: .numbered(1), author: "ada", frame: frame(1), ack: nil, now: start)
        #expect(own == [], "the window has it")
    }

    @Test mutating func `of two deletions the later in the room's order is named`() {
        _ = room.heard(message(1), now: start)
        _ = room.heard(event(3, .delete(.numbered(1))), now: start)
        _ = room.tick(now: start + .seconds(1), isDeaf: false)
        #expect(room.window.entries[0].frame == emptied(1, by: 3), "it waits no longer")
        _ = room.heard(event(2, .delete(.numbered(1))), now: start + .seconds(1))

        #expect(room.window.entries[0].frame == emptied(1, by: 3))
    }

    @Test mutating func `what was read before a deletion is told without its text`() {
        _ = room.heard(event(3, .delete(.numbered(1))), now: start)
        _ = room.tick(now: start + .milliseconds(200), isDeaf: false)
        // The read takes long, so that the event does not wait for it.
        _ = room.tick(now: start + .seconds(1), isDeaf: false)

        let actions = room.caughtUp(
            [read(1), read(2)], target: 3, head: 3, isComplete: true, now: start)

        #expect(delivered(actions) == [emptied(1, by: 3), frame(2)])
    }

    @Test mutating func `a deletion that is read empties what was told before`() {
        _ = room.heard(message(1), now: start)
        _ = room.tick(now: start + .seconds(3), isDeaf: true)

        let actions = room.caughtUp(
            [read(2, event: .delete(.numbered(1)))], target: 1, head: 2, isComplete: true,
            now: start + .seconds(3))

        #expect(delivered(actions).count == 1)
        #expect(room.window.entries[0].frame == emptied(1, by: 2))
    }

    @Test mutating func `a window that is read anew is emptied, too`() {
        _ = room.heard(message(1), now: start)
        _ = room.heard(message(1, id: 9), now: start)
        _ = room.tick(now: start + .seconds(3), isDeaf: false)

        _ = room.filled(
            [read(1), read(2, event: .delete(.numbered(1)))], head: 2, isWhole: true,
            now: start + .seconds(3))

        #expect(room.window.entries[0].frame == emptied(1, by: 2))
    }

    @Test mutating func `deletions are remembered as long as the window covers them`() {
        var limits = ChatLimits()
        limits.room.window.messages = 3
        room = RoomState(server: .numbered(0), limits: limits, now: start)
        _ = room.join(ada, user: "ada", now: start)
        _ = room.filled([], head: 0, isWhole: true, now: start)
        _ = room.heard(message(1), now: start)
        _ = room.heard(event(2, .delete(.numbered(1))), now: start)
        for seq in 3...4 { _ = room.heard(message(seq), now: start) }
        _ = room.tick(now: start, isDeaf: false)
        #expect(room.deletions.count == 1)

        _ = room.heard(message(5), now: start)
        _ = room.tick(now: start, isDeaf: false)

        #expect(room.deletions.isEmpty)
    }

    @Test mutating func `a repeated message is acknowledged, and read where it is missing`() {
        let ack = ByteBuffer(string: "ack")
        _ = room.heard(message(1), now: start)
        let known = room.repeated(seq: 1, id: .numbered(1), ack: (ack, ada), now: start)
        #expect(known == [.send(ack, to: ada)])

        let later = start + .seconds(1)
        let missing = room.repeated(seq: 2, id: .numbered(2), ack: (ack, ada), now: later)
        #expect(missing == [.send(ack, to: ada), .read(.after(1, target: 1))])
        _ = room.caughtUp([read(2)], target: 1, head: 2, isComplete: true, now: later)

        let another = room.repeated(
            seq: 2, id: .numbered(9), ack: nil, now: later + .seconds(1))
        #expect(another == [.read(.newest)], "the window is wrong")
    }

    // MARK: Muting

    @Test mutating func `who is muted is not shown typing`() {
        #expect(!room.typing(bo).isEmpty)
        _ = room.heard(event(1, .mute("bo", seconds: 60)), now: start)

        #expect(room.typing(bo).isEmpty)
        #expect(!room.typing(ada).isEmpty)
        room.time = time.advanced(by: .seconds(60))
        #expect(!room.typing(bo).isEmpty)
    }

    @Test func `of two events about a user the later in the room's order counts`() {
        var sanctions = Sanctions()
        sanctions.obey(ModerationEvent(.unmute("bo"), at: time), seq: 7)
        sanctions.obey(ModerationEvent(.mute("bo", seconds: nil), at: time), seq: 6)
        #expect(sanctions.mute(of: "bo", at: time) == nil)

        sanctions.obey(ModerationEvent(.mute("bo", seconds: nil), at: time), seq: 8)
        let mute = Sanctions.Sanction(until: nil, seq: 8)
        #expect(sanctions.mute(of: "bo", at: time.advanced(by: .seconds(1 << 30))) == mute)
    }

    @Test func `what was read does not undo what is newer`() {
        var sanctions = Sanctions()
        sanctions.obey(ModerationEvent(.mute("ada", seconds: nil), at: time), seq: 3)
        sanctions.obey(ModerationEvent(.unmute("bo"), at: time), seq: 7)
        sanctions.obey(ModerationEvent(.kick("cy", seconds: 9), at: time), seq: 8)
        var read = Sanctions()
        read.addMute(of: "bo", Sanctions.Sanction(until: nil, seq: 2))

        sanctions.replace(with: read, head: 5)

        #expect(sanctions.mute(of: "ada", at: time) == nil, "lifted by what was not heard")
        #expect(sanctions.mute(of: "bo", at: time) == nil)
        #expect(sanctions.bar(of: "cy", at: time) != nil)
    }

    // MARK: Kicking

    @Test mutating func `who is kicked is told why, sent out, and not thought to come back`() {
        let actions = room.heard(event(1, .kick("bo", seconds: nil)), now: start)

        #expect(actions.last == .dismiss(bo, .sentOut(until: nil)))
        #expect(room.presence.count == 2)
        let left = room.leave(bo, isDeparture: false, now: start)
        #expect(left.contains(.publish(.departed(user: "bo", from: .numbered(0)))))
        #expect(room.presence.count == 1)
        #expect(isWelcome("bo", at: start))
    }

    @Test mutating func `who is barred is not let in before the end`() {
        _ = room.heard(event(1, .kick("cy", seconds: 60)), now: start)

        #expect(!isWelcome("cy", at: start))
        #expect(isWelcome("dan", at: start))
        #expect(room.presence.count == 3, "nobody saw cy")
        room.time = time.advanced(by: .seconds(60))
        #expect(isWelcome("cy", at: start))
    }

    @Test mutating func `a bar can be lifted`() {
        _ = room.heard(event(1, .kick("cy", seconds: 60)), now: start)
        _ = room.heard(event(2, .unbar("cy")), now: start)

        #expect(isWelcome("cy", at: start))
    }

    @Test mutating func `a kick of long ago, or one that is told again, sends nobody out`() {
        let kick = event(1, .kick("bo", seconds: nil))
        room.time = time.advanced(by: .seconds(600))
        let late = MemberID(number: 3)
        _ = room.leave(bo, isDeparture: true, now: start)
        _ = room.join(late, user: "bo", now: start)

        let first = room.heard(kick, now: start)
        #expect(dismissed(first) == [], "he came long after it")
        #expect(dismissed(room.heard(kick, now: start)) == [])
    }

    @Test mutating func `a kick that is read late sends out who was here, not who came back`() {
        for (after, endings) in [(3, 1), (10, 0)] {
            room = RoomState(server: .numbered(0), limits: ChatLimits(), now: start)
            _ = room.join(ada, user: "ada", now: start)
            _ = room.filled([], head: 0, isWhole: true, now: start)
            room.time = time.advanced(by: .seconds(after))
            _ = room.join(bo, user: "bo", now: start)
            _ = room.tick(now: start + .seconds(3), isDeaf: true)

            let actions = room.caughtUp(
                [read(1, event: .kick("bo", seconds: nil))], target: 1, head: 1,
                isComplete: true, now: start + .seconds(3))

            #expect(dismissed(actions).count == endings, "he came \(after) s after it")
        }
    }

    @Test mutating func `who came in while nobody knew of his bar is sent out when it is read`() {
        room = RoomState(server: .numbered(0), limits: ChatLimits(), now: start)
        room.time = time
        _ = room.join(ada, user: "ada", now: start)
        _ = room.readFailed(now: start)
        #expect(isWelcome("bo", at: start))
        let later = start + .seconds(1)
        #expect(room.tick(now: later, isDeaf: false).contains(.read(.newest)))
        var sanctions = Sanctions()
        sanctions.addBar(of: "bo", Sanctions.Sanction(until: nil, seq: 1))

        let actions = room.filled(
            [], head: 1, isWhole: true, sanctions: sanctions, now: later)

        #expect(dismissed(actions) == [.barred(until: nil)])
    }

    // MARK: Helpers

    private mutating func isWelcome(_ user: String, at now: ContinuousClock.Instant) -> Bool {
        let id = MemberID(number: UInt64.random(in: 10...UInt64.max))
        return room.join(id, user: user, now: now).contains {
            if case .welcome(id, _) = $0 { true } else { false }
        }
    }

    private func delivered(_ actions: [RoomState.Action]) -> [ByteBuffer] {
        actions.compactMap { action in
            if case .deliver(let frame, .message, except: _) = action { frame } else { nil }
        }
    }

    private func dismissed(_ actions: [RoomState.Action]) -> [SessionStateMachine.Ending] {
        actions.compactMap { action in
            if case .dismiss(_, let ending) = action { ending } else { nil }
        }
    }

    private var texts: [String?] {
        room.window.entries.map { entry in
            (try? ReadFrame(entry.frame))?.string("text")
        }
    }

    private func stored(_ seq: Int, id: Int? = nil, event: Moderation? = nil) -> StoredMessage {
        var message = Message.numbered(id ?? seq, text: event == nil ? "secret" : "")
        message.event = event.map { ModerationEvent($0, at: time).json }
        return StoredMessage(message: message, seq: Int64(seq))
    }

    private func frame(_ seq: Int, id: Int? = nil, event: Moderation? = nil) -> ByteBuffer {
        ServerFrame.message(
            stored(seq, id: id, event: event), receipt: event == nil ? "r" : nil,
            limits: ChatLimits())
    }

    private func emptied(_ seq: Int, by event: Int64) -> ByteBuffer {
        ServerFrame.emptied(frame(seq), deletedBy: event)
    }

    private func message(_ seq: Int, id: Int? = nil) -> RoomEvent {
        .message(
            seq: Int64(seq), id: .numbered(id ?? seq), author: "ada", frame: frame(seq, id: id))
    }

    private func event(_ seq: Int, _ act: Moderation) -> RoomEvent {
        .message(
            seq: Int64(seq), id: .numbered(seq), author: "ada", frame: frame(seq, event: act),
            event: ModerationEvent(act, at: time))
    }

    private func read(_ seq: Int, event: Moderation? = nil) -> RoomState.ReadMessage {
        RoomState.ReadMessage(
            seq: Int64(seq), id: .numbered(seq), author: "ada", frame: frame(seq, event: event),
            age: .zero, event: event.map { ModerationEvent($0, at: time) })
    }
}
