/// Runs work that waits (writes and reads of shards), and starts what belongs to one room in the
/// order in which it was handed over.
///
/// Work of a lane is started one after the other: each runs until it first waits before the next
/// one begins, so that two writes of a room reach the router's queue in order and are then waited
/// for together.
///
/// Unbounded by itself: a socket hands over no more than ``SessionLimits/writesInFlight`` and
/// ``SessionLimits/historyReads``, a room one read.
final class WorkLanes: Sendable {
    typealias Work = @Sendable () async -> Void

    private let streams: [AsyncStream<Work>]
    private let continuations: [AsyncStream<Work>.Continuation]

    /// - Parameter count: lanes; one per core is enough, because starting is short.
    init(count: Int) {
        precondition(count > 0, "work needs a lane")
        let lanes = (0..<count).map { _ in AsyncStream<Work>.makeStream() }
        streams = lanes.map(\.stream)
        continuations = lanes.map(\.continuation)
    }

    /// Hands over `work`; everything with the same `key` starts in order.
    ///
    /// - Returns: false when the lanes have ended: the work will not run.
    @discardableResult
    func start(key: some Hashable, _ work: @escaping Work) -> Bool {
        let lane = Int(key.hashValue.magnitude % UInt(continuations.count))
        guard case .enqueued = continuations[lane].yield(work) else { return false }
        return true
    }

    /// Runs until ``finish()`` was called and all work is done. Cancelling cancels the work.
    func run() async {
        await withDiscardingTaskGroup { lanes in
            for stream in streams {
                lanes.addTask {
                    await withDiscardingTaskGroup { tasks in
                        for await work in stream {
                            tasks.addImmediateTask { await work() }
                        }
                    }
                }
            }
        }
    }

    /// Takes no more work.
    func finish() {
        continuations.forEach { $0.finish() }
    }
}
