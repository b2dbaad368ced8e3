import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

@Suite struct RoomStateTests {
    let start = ContinuousClock.Instant.now
    let ada = MemberID(number: 1)
    let bo = MemberID(number: 2)
    let frame = ByteBuffer(string: "{}")
    var room: RoomState

    init() {
        room = RoomState(server: .numbered(0), limits: ChatLimits(), now: start)
    }

    @Test mutating func `who joins a cold room is welcomed when it was read`() {
        #expect(room.join(ada, user: "ada", now: start) == [.read(.newest)])
        #expect(room.join(bo, user: "bo", now: start) == [])

        let actions = room.filled([], head: 0, isWhole: true, now: start)

        #expect(welcomed(actions) == [ada, bo])
    }

    @Test mutating func `who left while he waited is not welcomed`() {
        _ = room.join(ada, user: "ada", now: start)
        _ = room.leave(ada, isDeparture: true, now: start)

        #expect(welcomed(room.filled([], head: 0, isWhole: true, now: start)) == [])
        #expect(room.presence.count == 0)
    }

    @Test mutating func `the others hear of a newcomer and he gets the whole list`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)

        let actions = room.join(bo, user: "bo", now: start)

        #expect(
            actions == [
                .publish(.present([("bo", .milliseconds(17_500))], on: .numbered(0), head: 0)),
                .deliver(
                    ServerFrame.presence(count: 2, joined: ["bo"], left: []), .presence),
                .welcome(
                    bo,
                    RoomState.Welcome(
                        head: 0, isWarm: true,
                        presence: PresenceNews.Frame(
                            count: 2, joined: ["ada", "bo"], left: []))),
            ])
    }

    @Test mutating func `a stored message is acknowledged, then told here, then elsewhere`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        let ack = ByteBuffer(string: "ack")

        let actions = room.stored(
            seq: 1, id: .numbered(1), author: "ada", frame: frame, ack: (ack, ada), now: start)

        #expect(
            actions == [
                .send(ack, to: ada),
                .deliver(frame, .message(ordinal: 1)),
                .publish(.message(seq: 1, id: .numbered(1), author: "ada", frame: frame)),
            ])
    }

    @Test mutating func `a message that is known is only acknowledged`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        let event = RoomEvent.message(seq: 1, id: .numbered(1), author: "ada", frame: frame)
        #expect(room.heard(event, now: start) == [.deliver(frame, .message(ordinal: 1))])

        let actions = room.stored(
            seq: 1, id: .numbered(1), author: "ada", frame: frame, ack: (frame, ada), now: start)

        #expect(actions == [.send(frame, to: ada)])
        #expect(room.heard(event, now: start) == [])
    }

    @Test mutating func `what is read to close a hole is told in order`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        _ = room.heard(
            .message(seq: 4, id: .numbered(4), author: "bo", frame: frame), now: start)
        let later = start + .milliseconds(100)
        #expect(room.tick(now: later, isDeaf: false).contains(.read(.after(0, target: 4))))

        let actions = room.caughtUp(
            (1...4).map(message), target: 4, head: 4, isComplete: true, now: later)

        #expect(
            actions == [
                .deliver(text(1), .message(ordinal: 1)), .deliver(text(2), .message(ordinal: 2)),
                .deliver(text(3), .message(ordinal: 3)), .deliver(text(4), .message(ordinal: 4)),
            ])
        #expect(room.window.head == 4)
    }

    @Test mutating func `a hole that the shard has, too, is looked for once`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        _ = room.heard(
            .message(seq: 4, id: .numbered(4), author: "bo", frame: frame), now: start)
        let later = start + .milliseconds(100)
        _ = room.tick(now: later, isDeaf: false)

        // Number 2 and 3 were deleted.
        let actions = room.caughtUp(
            [message(1), message(4)], target: 4, head: 4, isComplete: true, now: later)

        #expect(
            actions == [
                .deliver(text(1), .message(ordinal: 1)), .deliver(text(4), .message(ordinal: 2)),
            ])
        #expect(room.window.head == 4)
        let reads = room.tick(now: start + .seconds(6), isDeaf: false).filter {
            if case .read = $0 { true } else { false }
        }
        #expect(reads == [])
    }

    @Test mutating func `a quiet room is compared with its shard once in a while`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        for seq in 1...2 {
            _ = room.stored(
                seq: Int64(seq), id: .numbered(seq), author: "ada", frame: frame, ack: nil,
                now: start + .seconds(20 * seq))
        }
        func reads(at second: Int) -> [RoomState.Action] {
            room.tick(now: start + .seconds(second), isDeaf: false).filter {
                if case .read = $0 { true } else { false }
            }
        }

        #expect(reads(at: 99) == [])
        #expect(reads(at: 100) == [.read(.after(2, target: 2))])
    }

    @Test mutating func `a shard that was wound back takes what it lost out of the window`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        for seq in 1...3 {
            _ = room.stored(
                seq: Int64(seq), id: .numbered(seq), author: "ada", frame: frame, ack: nil,
                now: start)
        }
        let later = start + .seconds(60)
        #expect(room.tick(now: later, isDeaf: false).contains(.read(.after(3, target: 3))))

        let actions = room.caughtUp(
            [], after: 3, target: 3, head: 1, isComplete: true, now: later)

        #expect(actions == [])
        #expect(room.window.head == 1 && room.window.newest == 1)
        let next = room.tick(now: later + .milliseconds(500), isDeaf: false)
        #expect(next.contains(.read(.newest)))
    }

    @Test mutating func `a room with many pages to read goes on until it has them`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        let later = start + .seconds(1)
        #expect(room.subscribed(now: later).last == .read(.after(0, target: 0)))

        let first = room.caughtUp(
            (1...2).map(message), target: 0, head: 3, isComplete: false, now: later)
        let second = room.caughtUp(
            [message(3)], target: 2, head: 3, isComplete: true, now: later)

        #expect(first.last == .read(.after(2, target: 2)))
        #expect(second == [.deliver(text(3), .message(ordinal: 3))])
    }

    @Test mutating func `a server that asks is answered, many that ask are answered once`() {
        warm()
        _ = room.join(ada, user: "ada", now: start)
        _ = room.tick(now: start, isDeaf: false)

        let later = start + .seconds(2)
        let answers = (0..<3).map { _ in room.heard(.asked, now: later).count }
        #expect(answers == [1, 0, 0])

        let owed = room.tick(now: later + .seconds(1), isDeaf: false)
        #expect(
            owed == [
                .publish(.present([("ada", .milliseconds(14_500))], on: .numbered(0), head: 0))
            ])
    }

    @Test mutating func `a heartbeat of nobody is nothing`() {
        #expect(
            room.beat(
                .ids([], upTo: 9), from: ada, skippedOrdinal: 0, isSlow: false, roundTrip: nil,
                now: start) == [])
        #expect(room.typing(ada) == [])
        #expect(room.leave(ada, isDeparture: true, now: start) == [])
    }

    @Test mutating func `a large room is told in several events`() {
        var limits = ChatLimits()
        limits.presenceNames = 2_000
        room = RoomState(server: .numbered(0), limits: limits, now: start)
        warm()
        for number in 0..<1_001 {
            _ = room.join(
                MemberID(number: UInt64(number)), user: "user \(number)", now: start)
        }

        let later = start + .seconds(7)
        let sizes = room.tick(now: later, isDeaf: false).compactMap { action -> Int? in
            guard case .publish(.present(let users, on: _, head: _)) = action else { return nil }
            return users.count
        }

        #expect(sizes == [500, 500, 1])
    }

    // MARK: Helpers

    @Test mutating func `a room is calm unless something waits for a moment to come`() {
        _ = room.join(ada, user: "ada", now: start)
        #expect(!room.isCalm, "somebody waits to be welcomed")
        _ = room.filled([], head: 0, isWhole: true, now: start)
        #expect(room.isCalm)

        _ = room.join(bo, user: "bo", now: start)
        #expect(room.isCalm)
        _ = room.join(MemberID(number: 3), user: "cy", now: start)
        #expect(!room.isCalm, "a newcomer is told when the beat is over")
        let later = start + .seconds(4)
        _ = room.tick(now: later, isDeaf: false)
        #expect(room.isCalm)

        _ = room.heard(
            .message(seq: 2, id: .numbered(2), author: "bo", frame: frame), now: later)
        #expect(!room.isCalm, "a message waits for the one before it")
        let last = later + .milliseconds(100)
        _ = room.tick(now: last, isDeaf: false)
        _ = room.caughtUp(
            [message(1), message(2)], target: 2, head: 2, isComplete: true, now: last)
        #expect(room.isCalm)

        _ = room.lostTrack(now: last)
        #expect(!room.isCalm, "a read is due when the time between reads is over")
        _ = room.tick(now: last + .seconds(1), isDeaf: true)
        _ = room.caughtUp([], after: 2, target: 2, head: 2, isComplete: true, now: last)
        #expect(!room.isCalm, "the shard is read again and again while others cannot be heard")
    }

    private mutating func warm() {
        _ = room.join(MemberID(number: 0), user: "nobody", now: start)
        _ = room.filled([], head: 0, isWhole: true, now: start)
        _ = room.leave(MemberID(number: 0), isDeparture: true, now: start)
    }

    private func welcomed(_ actions: [RoomState.Action]) -> [MemberID] {
        actions.compactMap { action in
            if case .welcome(let id, _) = action { id } else { nil }
        }
    }

    private func text(_ seq: Int64) -> ByteBuffer { ByteBuffer(string: "{\(seq)}") }

    private func message(_ seq: Int64) -> RoomState.ReadMessage {
        RoomState.ReadMessage(
            seq: seq, id: .numbered(Int(seq)), author: "bo", frame: text(seq), age: .zero)
    }
}
