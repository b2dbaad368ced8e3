import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

/// Each test has a room with messages 1 … 6; they were written to all sockets, in this order, ten
/// seconds apart: number n at second 10·n. The heartbeat arrives later.
@Suite struct HeartbeatAnswerTests {
    let start = ContinuousClock.Instant.now
    var window: Window
    var limits = ChatLimits()
    var reader = HeartbeatAnswer.Reader(user: "bo", roundTrip: .milliseconds(50))

    init() {
        window = Window(limits: WindowLimits())
        _ = window.anchor([], head: 0, isWhole: true)
        for number: Int64 in 1...6 { insert(number, at: 10 * number) }
    }

    // MARK: The founding form

    @Test(
        arguments: [
            // Seconds, seen, missing.
            (65, [1, 2, 3, 4, 5, 6], []), (65, [], [1, 2, 3, 4, 5, 6]),
            (65, [1, 3, 5, 6], [2, 4]),
            (75, [], [2, 3, 4, 5, 6]), (75, [1, 2, 3, 4, 5], [6]), (121, [], []),
            (119, [6], []), (119, [], [6]), (65, [99], [1, 2, 3, 4, 5, 6]),
        ] as [(Int64, [Int], [Int64])])
    func `whatever of the last minute is not listed is missing`(
        second: Int64, seen: [Int], missing: [Int64]
    ) {
        #expect(answer(.ids(seen.map { .numbered($0) }, upTo: nil), at: second) == missing)
    }

    @Test func `the founding form knows no messages on their way`() {
        #expect(answer(.ids([], upTo: nil), at: 60) == [1, 2, 3, 4, 5, 6])
    }

    @Test func `a founding answer is complete when the window covers the minute`() {
        let whole = full(.ids([], upTo: nil), at: 65)
        limitedWindow { window in
            let cut = HeartbeatAnswer.answer(
                to: .ids([], upTo: nil), from: reader, window: window,
                now: start + .seconds(65), limits: limits)
            #expect(cut?.isComplete == false)
        }

        #expect(whole?.isComplete == true)
    }

    // MARK: With upTo

    @Test(
        arguments: [
            (6, [], []), (0, [], [1, 2, 3, 4, 5, 6]), (3, [], [4, 5, 6]), (3, [5], [4, 6]),
            (3, [4, 5, 6], []), (6, [1], []), (100, [], []), (Int64.max, [], []),
        ] as [(Int64, [Int], [Int64])])
    func `whatever is above upTo and not listed is missing`(
        upTo: Int64, seen: [Int], missing: [Int64]
    ) {
        #expect(answer(.ids(seen.map { .numbered($0) }, upTo: upTo), at: 65) == missing)
    }

    @Test(arguments: [(6, []), (0, [1, 2, 3, 4, 5, 6]), (4, [5, 6])] as [(Int64, [Int64])])
    func `the compact form is judged by upTo`(upTo: Int64, missing: [Int64]) {
        #expect(answer(.compact(upTo: upTo, count: 9, digest: 7), at: 65) == missing)
    }

    @Test func `a beat that reports nothing lacks nothing`() {
        #expect(answer(.nothing, at: 65) == [])
    }

    // MARK: On their way

    @Test func `what was written within two round trips is not missing`() {
        // Number 6 was written at second 60; two round trips and the slack are 350 ms.
        #expect(answer(.ids([], upTo: 5), at: 60, milliseconds: 349) == [])
        #expect(answer(.ids([], upTo: 5), at: 60, milliseconds: 350) == [6])
    }

    @Test mutating func `an unknown round trip counts as a second`() {
        reader.roundTrip = nil

        #expect(answer(.ids([], upTo: 5), at: 60, milliseconds: 999) == [])
        #expect(answer(.ids([], upTo: 5), at: 61) == [6])
    }

    @Test mutating func `what was written before something that was read is missing`() {
        insert(7, at: 60)
        insert(8, at: 60)

        let seen7 = Heartbeat.Report.ids([.numbered(7)], upTo: 5)
        let seen8 = Heartbeat.Report.ids([.numbered(8)], upTo: 5)

        #expect(answer(seen7, at: 60, milliseconds: 50) == [6])
        #expect(answer(seen8, at: 60, milliseconds: 50) == [6, 7])
    }

    @Test mutating func `upTo shows what was read even when it came out of order`() {
        insert(8, at: 60)
        insert(7, at: 60)

        // Number 7 was written after 8, so that 8 has arrived or is lost.
        #expect(answer(.ids([], upTo: 7), at: 60, milliseconds: 50) == [8])
    }

    @Test mutating func `one's own message does not show what was read`() {
        insert(7, at: 60, author: "bo")

        let seenOwn = Heartbeat.Report.ids([.numbered(7)], upTo: 5)

        #expect(answer(seenOwn, at: 60, milliseconds: 50) == [])
    }

    @Test mutating func `what was written before the socket joined is missing`() {
        reader.joinedOrdinal = 6

        #expect(answer(.ids([], upTo: 5), at: 60, milliseconds: 50) == [6])
    }

    @Test mutating func `what a slow socket was not given is missing`() {
        reader.skippedOrdinal = 6

        #expect(answer(.ids([], upTo: 5), at: 60, milliseconds: 50) == [6])
    }

    @Test mutating func `a sync that is on its way is not repeated`() {
        reader.lastSync = HeartbeatAnswer.Sync(
            newest: 5, ordinal: 6, writtenAt: start + .seconds(70))

        #expect(answer(.ids([], upTo: 0), at: 70, milliseconds: 100) == [6])
        #expect(answer(.ids([], upTo: 0), at: 71) == [1, 2, 3, 4, 5, 6])
    }

    @Test mutating func `a sync that must have arrived is repeated`() {
        reader.lastSync = HeartbeatAnswer.Sync(
            newest: 6, ordinal: 6, writtenAt: start + .seconds(70))
        insert(7, at: 70)

        let shows7 = Heartbeat.Report.ids([.numbered(7)], upTo: 4)

        #expect(answer(shows7, at: 70, milliseconds: 50) == [5, 6])
    }

    // MARK: Completeness and bounds

    @Test mutating func `an answer holds a bounded number of messages, the oldest`() {
        limits.syncMessages = 2

        let answer = full(.ids([], upTo: 1), at: 65)

        #expect(answer?.missing.map(\.seq) == [2, 3])
        #expect(answer?.isComplete == false)
    }

    @Test mutating func `an answer holds a bounded number of bytes`() {
        limits.pageBytes = 35

        let answer = full(.ids([], upTo: 1), at: 65)

        #expect(answer?.missing.map(\.seq) == [2, 3, 4])
        #expect(answer?.isComplete == false)
    }

    @Test func `an answer is incomplete below what the window covers`() {
        limitedWindow { window in
            func isComplete(_ upTo: Int64) -> Bool? {
                HeartbeatAnswer.answer(
                    to: .ids([], upTo: upTo), from: reader, window: window,
                    now: start + .seconds(65), limits: limits)?.isComplete
            }

            #expect(isComplete(2) == false)
            #expect(isComplete(3) == true)
        }
    }

    @Test mutating func `an answer with a hole is incomplete`() {
        insert(8, at: 61)

        let answer = full(.ids([], upTo: 5), at: 65)

        #expect(answer?.missing.map(\.seq) == [6, 8])
        #expect(answer?.isComplete == false)
    }

    @Test func `before the shard was read no answer is complete`() throws {
        var cold = Window(limits: WindowLimits())
        _ = cold.insert(try #require(window.entries.last))

        for report in [Heartbeat.Report.ids([], upTo: 0), .ids([], upTo: nil)] {
            let answer = HeartbeatAnswer.answer(
                to: report, from: reader, window: cold, now: start + .seconds(65), limits: limits)
            #expect(answer?.missing.map(\.seq) == [6])
            #expect(answer?.isComplete == false)
        }
    }

    // MARK: Helpers

    private mutating func insert(_ number: Int64, at second: Int64, author: String = "ada") {
        let time = start + .seconds(second)
        let ordinal = window.entries.map(\.ordinal).max() ?? 0
        _ = window.insert(
            Window.Entry(
                seq: number, id: .numbered(Int(number)), author: author,
                frame: ByteBuffer(repeating: 0x78, count: 10), arrivedAt: time,
                ordinal: ordinal + 1, writtenAt: time))
    }

    private func limitedWindow(_ body: (Window) -> Void) {
        var limits = WindowLimits()
        limits.messages = 3
        var small = Window(limits: limits)
        _ = small.anchor([], head: 0, isWhole: true)
        for entry in Array(window.entries) { _ = small.insert(entry) }
        body(small)
    }

    private func full(
        _ report: Heartbeat.Report, at second: Int64, milliseconds: Int64 = 0
    ) -> HeartbeatAnswer? {
        HeartbeatAnswer.answer(
            to: report, from: reader, window: window,
            now: start + .seconds(second) + .milliseconds(milliseconds), limits: limits)
    }

    private func answer(
        _ report: Heartbeat.Report, at second: Int64, milliseconds: Int64 = 0
    ) -> [Int64] {
        full(report, at: second, milliseconds: milliseconds)?.missing.map(\.seq) ?? []
    }
}
