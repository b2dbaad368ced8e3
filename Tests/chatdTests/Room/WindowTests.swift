import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

@Suite struct WindowTests {
    let start = ContinuousClock.Instant.now

    @Test func `a window knows nothing before the shard was read`() {
        var window = Window(limits: WindowLimits())

        #expect(window.insert(entry(7)) == .inserted)

        #expect(!window.isAnchored)
        #expect(window.head == 0)
        #expect(window.newest == 7)
        #expect(!window.hasGap)
    }

    @Test func `a message is inserted once`() {
        var window = anchored(upTo: 3)

        #expect(window.insert(entry(4)) == .inserted)
        #expect(window.insert(entry(4)) == .known)
        #expect(window.insert(entry(2)) == .known)
        #expect(window.entries.map(\.seq) == [1, 2, 3, 4])
    }

    @Test func `a hole is seen and closed`() {
        var window = anchored(upTo: 3)

        _ = window.insert(entry(6))
        _ = window.insert(entry(5))
        #expect(window.hasGap)
        #expect(window.head == 3)
        #expect(window.newest == 6)

        _ = window.insert(entry(4))
        #expect(!window.hasGap)
        #expect(window.head == 6)
    }

    @Test func `a hole in the shard itself is settled`() {
        var window = anchored(upTo: 3)
        _ = window.insert(entry(6))
        _ = window.insert(entry(9))

        window.settle(upTo: 5)

        #expect(window.head == 6)
        #expect(window.hasGap)
    }

    @Test func `what came before the first read is kept when it is newer than the read`() {
        var window = Window(limits: WindowLimits())
        for seq: Int64 in [12, 5, 9] { _ = window.insert(entry(seq)) }

        let added = window.anchor((8...10).map { entry($0) }, head: 10, isWhole: false)

        #expect(added.map(\.seq) == [8, 10])
        #expect(window.entries.map(\.seq) == [8, 9, 10, 12])
        #expect(window.floor == 7)
        #expect(window.head == 10)
        #expect(window.hasGap)
    }

    @Test func `a room that is read whole is covered from its start`() {
        var window = Window(limits: WindowLimits())

        _ = window.anchor([entry(3), entry(4)], head: 4, isWhole: true)

        #expect(window.floor == 0)
        #expect(window.head == 4)
        #expect(window.coveredSince == nil)
    }

    @Test func `an empty room is covered`() {
        var window = Window(limits: WindowLimits())

        _ = window.anchor([], head: 0, isWhole: true)

        #expect(window.isAnchored)
        #expect(window.insert(entry(1)) == .inserted)
        #expect(window.head == 1)
    }

    @Test func `messages leave after two minutes, but the newest fifty stay`() {
        var window = anchored(upTo: 0)
        for seq: Int64 in 1...60 { _ = window.insert(entry(seq, at: .seconds(seq))) }

        window.trim(now: start + .seconds(125))
        #expect(window.entries.first?.seq == 5)
        #expect(window.floor == 4)

        window.trim(now: start + .seconds(1_000))
        #expect(window.entries.map(\.seq) == Array(11...60))
        #expect(window.head == 60)
        #expect(window.insert(entry(10)) == .old)
    }

    @Test func `a full window lets the oldest go and says what it still covers`() {
        var limits = WindowLimits()
        limits.messages = 3
        var window = Window(limits: limits)
        _ = window.anchor([], head: 0, isWhole: true)

        for seq: Int64 in 1...5 { _ = window.insert(entry(seq, at: .seconds(seq))) }

        #expect(window.entries.map(\.seq) == [3, 4, 5])
        #expect(window.coveredSince == start + .seconds(2))
    }

    @Test func `bytes are bounded, too`() {
        var limits = WindowLimits()
        limits.bytes = 1_000
        var window = Window(limits: limits)

        for seq: Int64 in 1...50 { _ = window.insert(entry(seq, bytes: 300)) }
        #expect(window.entries.map(\.seq) == [48, 49, 50])
        #expect(window.bytes == 900)

        _ = window.insert(entry(51, bytes: 5_000))
        #expect(window.entries.map(\.seq) == [51])
    }

    @Test func `the highest ordinal below an entry is known wherever it was inserted`() {
        var window = anchored(upTo: 0)

        _ = window.insert(entry(1, ordinal: 1))
        _ = window.insert(entry(3, ordinal: 2))
        _ = window.insert(entry(4, ordinal: 3))
        _ = window.insert(entry(2, ordinal: 4))

        #expect(window.entries.map(\.highestOrdinal) == [1, 4, 4, 4])
    }

    /// Everything that arrives, in any order and any number of times, against a plain set.
    @Test(arguments: 0..<30)
    func `any order of arrival ends in the same window`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var limits = WindowLimits()
        limits.messages = Int.random(in: 5...80, using: &random)
        var window = Window(limits: limits)
        let floor = Int64.random(in: 0...20, using: &random)
        let anchorHead = floor + Int64.random(in: 1...5, using: &random)
        _ = window.anchor(
            (floor + 1...anchorHead).map { entry($0) }, head: anchorHead, isWhole: false)
        var model = Set(floor + 1...anchorHead)
        var modelFloor = floor
        var arrivals = (anchorHead + 1...anchorHead + 60).flatMap { seq in
            Array(repeating: seq, count: Int.random(in: 0...3, using: &random))
        }
        arrivals.shuffle(using: &random)

        for seq in arrivals {
            let outcome = window.insert(entry(seq))
            if seq <= modelFloor {
                #expect(outcome == .old, "seed \(seed)")
                continue
            }
            let isNew = model.insert(seq).inserted
            #expect(outcome == (isNew ? .inserted : .known), "seed \(seed)")
            while model.count > limits.messages, let oldest = model.min() {
                model.remove(oldest)
                modelFloor = oldest
            }

            #expect(window.entries.map(\.seq) == model.sorted(), "seed \(seed)")
            var head = modelFloor
            while model.contains(head + 1) { head += 1 }
            #expect(window.head == max(head, anchorHead), "seed \(seed)")
            #expect(window.newest == max(model.max() ?? 0, window.head), "seed \(seed)")
            for above in modelFloor - 1...anchorHead + 61 {
                let index = window.firstIndex(above: above)
                #expect(
                    window.entries.count - index == model.count { $0 > above }, "seed \(seed)")
            }
        }
    }

    // MARK: Helpers

    private func entry(
        _ seq: Int64, at time: Duration = .zero, ordinal: UInt64 = 0, bytes: Int = 10
    ) -> Window.Entry {
        Window.Entry(
            seq: seq, id: .numbered(Int(seq)), author: "ada",
            frame: ByteBuffer(repeating: 0x78, count: bytes), arrivedAt: start + time,
            ordinal: ordinal, writtenAt: start + time)
    }

    /// A window of a room whose first messages up to `seq` were read.
    private func anchored(upTo seq: Int64) -> Window {
        var window = Window(limits: WindowLimits())
        let page = seq > 0 ? (1...seq).map { entry($0) } : []
        _ = window.anchor(page, head: seq, isWhole: true)
        return window
    }
}
