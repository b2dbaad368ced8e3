import Synchronization

/// How often each user may post over HTTP: as often as over a socket.
final class PostingRates: Sendable {
    private struct Posting {
        var bucket: TokenBucket
        var last: ContinuousClock.Instant
    }

    /// After this long a bucket is full again.
    private static let memory: Duration = .seconds(2)

    private let postings = Mutex<[String: Posting]>([:])
    private let perSecond: Int
    private let usersAtMost: Int

    init(perSecond: Int, usersAtMost: Int) {
        self.perSecond = perSecond
        self.usersAtMost = usersAtMost
    }

    /// Counts one message.
    ///
    /// - Returns: nil when it may be stored, else how long to wait.
    func take(_ user: String, at now: ContinuousClock.Instant) -> Duration? {
        postings.withLock { postings in
            if postings.count >= usersAtMost, postings[user] == nil {
                postings = postings.filter { now - $0.value.last < Self.memory }
                // Still too many: rather forget who posted than refuse everybody.
                if postings.count >= usersAtMost { postings = [:] }
            }
            let fresh = Posting(bucket: TokenBucket(perSecond: perSecond), last: now)
            postings[user, default: fresh].last = now
            return postings[user, default: fresh].bucket.take(at: now)
        }
    }
}
