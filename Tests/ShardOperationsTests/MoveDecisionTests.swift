import Testing

@testable import ShardOperations

/// The table in docs/moving-data.md, row by row.
@Suite struct MoveDecisionTests {
    private func next(
        _ target: MoveSight.Target, _ source: MoveSight.Source,
        _ subscription: MoveSight.Subscription = .missing,
        _ slot: MoveSight.ReplicationSlot = .missing, hasLivingCopy: Bool = false
    ) -> MoveDecision {
        .next(
            MoveSight(
                target: target, source: source, subscription: subscription, replicationSlot: slot),
            hasLivingCopy: hasLivingCopy)
    }

    private let fenced = MoveSight.Source.fenced(attempt: 1, age: .seconds(9))
    private let usable = MoveSight.ReplicationSlot.usable(heldBytes: 5)

    @Test func `behind the commit point a move rolls forward`() {
        #expect(next(.active, fenced) == .rollForward)
        #expect(next(.active, .moved) == .rollForward)
        #expect(next(.active, fenced, .running, usable) == .rollForward)
    }

    @Test func `a tombstone is the rest of an abort, whatever the source is`() {
        for source in [MoveSight.Source.owning, fenced, .moved, .barred, .other("x")] {
            #expect(next(.barred, source) == .finishAbort)
        }
    }

    @Test func `a move that has not arrived prepares, and then wipes`() {
        #expect(next(.clear, .owning) == .prepare)
        #expect(next(.preparing, .owning) == .wipe)
    }

    @Test func `a copy is begun by its own runner alone`() {
        let importing = MoveSight.Target.importing(attempt: 0)

        #expect(next(importing, .owning, hasLivingCopy: true) == .copy)
        #expect(next(importing, .owning) == .abort(reason: "its copy was cut off"))
        #expect(
            next(importing, .owning, .missing, usable) == .abort(reason: "its copy was cut off"))
    }

    @Test(arguments: [MoveSight.Source.owning, .fenced(attempt: 3, age: .zero)])
    func `an import goes on as its subscription and its slot allow`(source: MoveSight.Source) {
        let importing = MoveSight.Target.importing(attempt: 3)

        #expect(next(importing, source, .running, usable) == .switchOver)
        #expect(next(importing, source, .stopped, usable) == .attach)
        for slot in [MoveSight.ReplicationSlot.missing, .lost] {
            guard case .abort = next(importing, source, .running, slot) else {
                Issue.record("a lost replication slot ends the move")
                continue
            }
        }
    }

    @Test func `what fits nothing calls the operator`() {
        for (target, source) in [
            (MoveSight.Target.clear, MoveSight.Source.moved), (.preparing, fenced),
            (.active, .owning), (.other("x"), .owning), (.importing(attempt: 0), .moved),
        ] {
            guard case .stop = next(target, source, .running, usable) else {
                Issue.record("\(target) and \(source) fit no step")
                continue
            }
        }
    }
}
