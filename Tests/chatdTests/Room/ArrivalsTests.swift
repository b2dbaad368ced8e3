import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

/// Messages that overtake each other on their way to a room.
@Suite struct ArrivalsTests {
    private let start = ContinuousClock.now
    private let ada = MemberID(number: 1)
    private var room: RoomState

    init() {
        room = RoomState(server: UUID.numbered(0), limits: ChatLimits(), now: start)
        _ = room.subscribed(now: start)
        _ = room.join(ada, user: "ada", now: start)
        _ = room.filled([], head: 0, isWhole: true, now: start)
        _ = room.tick(now: start, isDeaf: false)
    }

    private func frame(_ seq: Int) -> ByteBuffer { ByteBuffer(string: "{\(seq)}") }

    private func message(_ seq: Int) -> RoomEvent {
        .message(seq: Int64(seq), id: .numbered(seq), author: "bo", frame: frame(seq))
    }

    private mutating func store(_ seq: Int, now: ContinuousClock.Instant) -> [RoomState.Action] {
        room.stored(
            seq: Int64(seq), id: .numbered(seq), author: "bo", frame: frame(seq), ack: nil,
            now: now)
    }

    private func delivered(_ actions: [RoomState.Action]) -> [ByteBuffer] {
        actions.compactMap {
            if case .deliver(let frame, .message, except: _) = $0 { frame } else { nil }
        }
    }

    private func published(_ actions: [RoomState.Action]) -> [RoomEvent] {
        actions.compactMap { if case .publish(let event) = $0 { event } else { nil } }
    }

    @Test(arguments: 1...50)
    func `however messages overtake each other, they are told in their order`(seed: UInt64) {
        var test = self
        var random = SeededGenerator(seed: seed)
        var actions: [RoomState.Action] = []

        for seq in (1...40).shuffled(using: &random) {
            actions +=
                Bool.random(using: &random)
                ? test.store(seq, now: start) : test.room.heard(test.message(seq), now: start)
        }

        #expect(delivered(actions) == (1...40).map(frame), "seed \(seed)")
    }

    @Test mutating func `a message that overtook another is told and published behind it`() {
        let early = store(2, now: start)
        let late = store(1, now: start + .milliseconds(5))

        #expect(delivered(early).isEmpty && published(early).isEmpty)
        #expect(delivered(late) == [frame(1), frame(2)])
        #expect(published(late) == [message(1), message(2)])
    }

    @Test mutating func `what does not come is read, and told in its place`() {
        _ = store(2, now: start)
        let tick = room.tick(now: start + .milliseconds(100), isDeaf: false)
        let read = RoomState.ReadMessage(
            seq: 1, id: .numbered(1), author: "bo", frame: frame(1), age: .zero)

        let actions = room.caughtUp(
            [read], target: 2, head: 1, isComplete: true, now: start + .milliseconds(110))

        #expect(tick.contains(.read(.after(0, target: 2))))
        #expect(delivered(actions) == [frame(1), frame(2)])
        #expect(published(actions) == [message(2)])
    }

    @Test mutating func `what was read while it waited is told once, and published`() {
        _ = store(2, now: start)
        _ = room.tick(now: start + .milliseconds(100), isDeaf: false)
        let read = (1...2).map {
            RoomState.ReadMessage(
                seq: Int64($0), id: .numbered($0), author: "bo", frame: frame($0), age: .zero)
        }

        let actions = room.caughtUp(
            read, target: 2, head: 2, isComplete: true, now: start + .milliseconds(110))

        #expect(delivered(actions) == [frame(1), frame(2)])
        #expect(published(actions) == [message(2)])
    }

    @Test mutating func `nobody waits for a shard that cannot be read`() {
        _ = store(2, now: start)
        _ = room.tick(now: start + .milliseconds(100), isDeaf: false)

        let failed = room.readFailed(now: start + .milliseconds(200))
        let next = store(4, now: start + .milliseconds(210))

        #expect(delivered(failed) == [frame(2)])
        #expect(delivered(next) == [frame(4)])
    }

    @Test mutating func `nobody waits longer than a second`() {
        _ = store(2, now: start)
        let early = room.tick(now: start + .milliseconds(999), isDeaf: false)

        let late = room.tick(now: start + .seconds(1), isDeaf: false)

        #expect(delivered(early).isEmpty && delivered(late) == [frame(2)])
    }

    @Test mutating func `when very many wait, something is missing, and they are told`() {
        var actions: [RoomState.Action] = []

        for seq in 2...300 { actions += room.heard(message(seq), now: start) }

        #expect(delivered(actions) == (2...300).map(frame))
    }
}
