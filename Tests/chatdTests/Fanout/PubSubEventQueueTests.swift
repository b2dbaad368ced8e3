import ShardRouter
import Testing

@testable import chatd

@Suite struct PubSubEventQueueTests {
    private static let room = RoomID("lobby")

    private func payload(_ number: Int, bytes: Int = 1) -> PubSubEvent {
        .payload(.init(repeating: UInt8(number), count: bytes), room: Self.room)
    }

    private func drained(_ queue: PubSubEventQueue) async -> [PubSubEvent] {
        queue.finish()
        return await queue.events.reduce(into: []) { $0.append($1) }
    }

    @Test func `events come in the order in which they happened`() async {
        let queue = PubSubEventQueue()
        let events = [
            payload(1), .subscribed(Self.room), payload(2), .disconnected, payload(3),
            .subscribed(Self.room), payload(4),
        ]

        for event in events { queue.push(event) }

        #expect(
            await drained(queue) == [
                payload(1), payload(2), .disconnected, payload(3), .subscribed(Self.room),
                payload(4),
            ])
    }

    @Test func `too many payloads drop the oldest, and say so once`() async {
        var limits = PubSubEventLimits()
        limits.payloads = 3
        let queue = PubSubEventQueue(limits: limits)
        queue.push(.subscribed(Self.room))

        let begins = (0..<6).map { queue.push(payload($0)) }

        #expect(begins == [false, false, false, true, false, false])
        #expect(queue.droppedPayloads == 3)
        #expect(
            await drained(queue) == [.subscribed(Self.room), payload(3), payload(4), payload(5)])
    }

    @Test func `too many bytes drop the oldest`() async {
        var limits = PubSubEventLimits()
        limits.bytes = 100
        let queue = PubSubEventQueue(limits: limits)

        for number in 0..<10 { queue.push(payload(number, bytes: 35)) }

        #expect(await drained(queue) == [payload(8, bytes: 35), payload(9, bytes: 35)])
    }

    @Test func `news that nobody reads do not pile up`() async {
        let queue = PubSubEventQueue()

        for _ in 0..<1_000 {
            queue.push(.disconnected)
            queue.push(.subscribed(Self.room))
            queue.push(.subscribed(Self.room))
        }

        #expect(await drained(queue) == [.disconnected, .subscribed(Self.room)])
    }

    @Test func `a reader that is cancelled ends`() async {
        let queue = PubSubEventQueue()

        await withTaskGroup { group in
            group.addTask { for await _ in queue.events {} }
            group.cancelAll()
        }

        queue.push(payload(1))
        #expect(await drained(queue).isEmpty)
    }
}
