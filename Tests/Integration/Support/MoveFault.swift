import Synchronization
import TestKit
import Testing

@testable import ShardOperations

/// What happens to a move, or to the world around it, when it reaches a point.
enum MoveFault: String, CaseIterable, Sendable {
    /// Its sessions are gone at the point, and it does nothing any more.
    case killRunner
    /// It stands still; another takes the move to its end; it wakes up in the middle of the next move
    /// of the same slots.
    case freezeRunner
    /// Another runner works beside it from the point on.
    case secondRunner
    case killSource, killTarget, cutSource, cutTarget
    /// Somebody aborts the move while the runner stands still.
    case abort
}

extension MovePoint {
    /// Reached only by an abort.
    var isOfAbort: Bool {
        switch self {
        case .barred, .unsubscribed, .slotDroppedByAbort, .reopened, .wipedByAbort: true
        case .opened, .prepared, .wiped, .imported, .published, .slotMade, .chunkCopied, .copied,
            .subscribed, .caughtUp, .compared, .fenced, .drained, .marked, .arrived,
            .comparedAgain, .activated, .released, .announced, .slotDropped, .closed, .raised,
            .lifted, .purgedBatch:
            false
        }
    }

    /// Reached only when a fence is lifted.
    var isOfLift: Bool { self == .raised || self == .lifted }
}

/// One point, one fault.
struct MoveCell: Sendable, CustomTestStringConvertible {
    var point: MovePoint
    var fault: MoveFault

    /// Every point of a move with every fault.
    ///
    /// The purge is no part of a move: it comes after its end and has tests of its own.
    static let all = MovePoint.allCases.filter { $0 != .purgedBatch }.flatMap { point in
        MoveFault.allCases.map { MoveCell(point: point, fault: $0) }
    }

    var testDescription: String { "\(fault.rawValue) at \(point.rawValue)" }
}

/// Catches a runner the first time it reaches a point, and holds it.
final class Snare: Sendable {
    private enum State {
        case set, holding, released, dead
    }

    private struct Contents {
        var state = State.set
        var hasStalled = false
    }

    private let point: MovePoint
    private let fence: Duration
    private let contents = Mutex(Contents())

    init(at point: MovePoint, limits: MoveLimits) {
        self.point = point
        fence = limits.fence
    }

    var watch: MoveWatch {
        var watch = MoveWatch()
        watch.reached = { point, _ in try await self.reached(point) }
        return watch
    }

    /// Whether a runner has ever come to the point.
    var hasCaught: Bool { contents.withLock { $0.state != .set } }

    /// Lets the runner go on, and catches nobody any more.
    func release() { contents.withLock { if $0.state != .dead { $0.state = .released } } }

    /// Ends the runner: wherever it goes, it stops there.
    func kill() { contents.withLock { $0.state = .dead } }

    private func reached(_ point: MovePoint) async throws {
        // A fence that is lifted: the budget is used up, once.
        let stalls = contents.withLock { contents in
            guard self.point.isOfLift, point == .drained, !contents.hasStalled else { return false }
            contents.hasStalled = true
            return true
        }
        if stalls { try await Task.sleep(for: fence) }
        let holds = contents.withLock { contents in
            guard contents.state == .set, point == self.point else { return false }
            contents.state = .holding
            return true
        }
        while holds, contents.withLock({ $0.state == .holding }) {
            try await Task.sleep(for: .milliseconds(1))
        }
        if contents.withLock({ $0.state == .dead }) { throw CancellationError() }
    }
}
