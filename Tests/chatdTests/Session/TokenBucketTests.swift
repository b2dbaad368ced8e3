import Testing

@testable import chatd

@Suite struct TokenBucketTests {
    let start = ContinuousClock.Instant.now

    @Test func `a second's worth is there at once and the next is told when to come`() {
        var bucket = TokenBucket(perSecond: 20)
        for _ in 0..<20 { #expect(bucket.take(at: start) == nil) }

        let wait = bucket.take(at: start)

        #expect(wait == .milliseconds(50))
        #expect(bucket.take(at: start + .milliseconds(49)) == .milliseconds(1))
        #expect(bucket.take(at: start + .milliseconds(50)) == nil)
    }

    @Test func `a steady sender at the rate is never refused, whatever the pauses`() {
        var bucket = TokenBucket(perSecond: 20)
        for index in 0..<1_000 {
            #expect(bucket.take(at: start + .milliseconds(50 * index)) == nil)
        }

        let later = start + .seconds(100_000)
        #expect((0..<25).count { _ in bucket.take(at: later) == nil } == 20)
    }

    @Test func `a budget counts only what lies within its period`() {
        var budget = Budget(count: 3, period: .seconds(60))

        let outcomes = [0, 1, 60, 61, 100].map { budget.spend(at: start + .seconds($0)) }

        #expect(outcomes == [false, false, false, false, true])
    }
}
