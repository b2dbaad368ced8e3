import Synchronization
import Testing

@testable import chatd

@Suite(.timeLimit(.minutes(1))) struct WorkLanesTests {
    @Test func `what belongs together starts in order, however long a start takes`() async {
        let lanes = WorkLanes(count: 2)
        let begun = Mutex<[Int]>([])

        await withDiscardingTaskGroup { group in
            group.addTask { await lanes.run() }
            for number in 0..<10 {
                lanes.start(key: "room") {
                    // Later ones have less to do, and would overtake if they could.
                    let end = ContinuousClock.now + .milliseconds(10 - number)
                    while ContinuousClock.now < end {}
                    begun.withLock { $0.append(number) }
                    await Task.yield()
                }
            }
            lanes.finish()
        }

        #expect(begun.withLock { $0 } == Array(0..<10))
    }

    @Test func `work that waits does not hold up what comes after it`() async {
        let lanes = WorkLanes(count: 1)
        let (stream, continuation) = AsyncStream<Int>.makeStream()

        await withDiscardingTaskGroup { group in
            group.addTask { await lanes.run() }
            // The first waits for the second.
            lanes.start(key: "room") { for await _ in stream { return } }
            lanes.start(key: "room") { continuation.yield(1) }
            lanes.finish()
        }

        #expect(lanes.start(key: "room") {} == false)
    }
}
