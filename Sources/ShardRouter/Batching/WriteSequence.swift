import Synchronization

/// Messages of one room that were given together: one caller waits for all of their outcomes.
final class WriteSequence: Sendable {
    typealias Outcome = PendingWrite.Outcome
    typealias Caller = UnsafeContinuation<[Outcome], Never>

    private struct Contents {
        var outcomes: [Outcome?]
        var left: Int
    }

    private let contents: Mutex<Contents>
    private let caller: Caller

    /// - Parameter count: how many messages there are, at least one.
    init(count: Int, caller: Caller) {
        precondition(count > 0, "somebody waits for something")
        contents = Mutex(Contents(outcomes: Array(repeating: nil, count: count), left: count))
        self.caller = caller
    }

    /// The message at `place` has its outcome; called once for each.
    func settle(_ place: Int, _ outcome: Outcome) {
        let outcomes = contents.withLock { contents -> [Outcome]? in
            precondition(contents.outcomes[place] == nil, "a message has one outcome")
            contents.outcomes[place] = outcome
            contents.left -= 1
            return contents.left == 0 ? contents.outcomes.compactMap(\.self) : nil
        }
        if let outcomes { caller.resume(returning: outcomes) }
    }
}
