import Postgres
import ShardRouter
import Synchronization

/// Takes one open move to its end, from wherever it is.
///
/// It keeps nothing that matters: after every step, every failure and every start it looks at both
/// shards and decides by what it finds (``MoveDecision``). It may be killed at any moment, sleep for
/// an hour, or run beside another one.
public struct MoveRunner: Sendable {
    /// How a move ended.
    public enum Outcome: Sendable, Equatable {
        case done
        /// The reason. `isReplaceable`: a new move of the same slots may succeed.
        case aborted(String, isReplaceable: Bool)
    }

    let cluster: Cluster
    let move: Move
    let limits: MoveLimits
    let watch: MoveWatch
    let progress: MoveProgress
    /// Whether it leaves the move to another runner that is at work. The protocol does not need it.
    let isExclusive: Bool

    init(
        cluster: Cluster, move: Move, limits: MoveLimits, watch: MoveWatch = MoveWatch(),
        isExclusive: Bool = true
    ) {
        self.cluster = cluster
        self.move = move
        self.limits = limits
        self.watch = watch
        self.isExclusive = isExclusive
        progress = MoveProgress(move, watch.event)
    }

    public init(
        cluster: Cluster, move: Move, limits: MoveLimits,
        onEvent: @escaping @Sendable (MoveEvent) -> Void
    ) {
        self.init(cluster: cluster, move: move, limits: limits, watch: MoveWatch(event: onEvent))
    }

    private var journal: MoveJournal { MoveJournal(cluster: cluster) }

    /// Runs the move to its end.
    ///
    /// - Throws: a refusal when somebody else runs it; a failure when rows differ, when the state of
    ///   the slots fits no step, or when a shard does not come back. The move stays open then.
    public func run() async throws -> Outcome {
        try await cluster.withCatalog { catalog in
            let isFree: Bool = try await catalog.query(
                "select pg_try_advisory_lock($1, $2::int8::int4)",
                [
                    MoveJournal.runnerLock,
                    Int64(truncatingIfNeeded: Int32(truncatingIfNeeded: move.id)),
                ],
                deadline: .now + Cluster.patience)[0].get(0)
            guard isFree || !isExclusive else {
                throw OperationError.refused(
                    "move \(move.id) is being run by another process: "
                        + "\(move.runner ?? "unknown yet")",
                    next: "shardctl move show \(move.id)")
            }
            return try await runPersistently()
        }
    }

    /// Connections that break are made again; then everything is looked at anew.
    private func runPersistently() async throws -> Outcome {
        var failures = 0
        while true {
            let trouble: any Error
            let start = ContinuousClock.now
            do {
                return try await attempt()
            } catch let error as OperationError {
                progress.enter(.opened, note: error.description)
                throw error
            } catch MoveError.differs(let what) {
                try await note(.verifying, MoveFields(note: "stopped: \(what)"))
                throw OperationError.failed(
                    "move \(move.id) is stopped, and nothing has changed its owner: \(what)",
                    next: "compare the two, then: shardctl move abort \(move.id) --yes")
            } catch MoveError.logFull(let held) {
                let reason =
                    "it held back \(held >> 20) MiB of the log of \(move.source.name), more than "
                    + "\(limits.heldLogBytes >> 20)"
                do {
                    try await abort(because: reason)
                    return .aborted(reason, isReplaceable: false)
                } catch { trouble = error }
            } catch let error as CancellationError {
                throw error
            } catch {
                trouble = error
            }
            try Task.checkCancellation()
            // What went well for a minute is no failure in a row.
            failures = .now - start > .seconds(60) ? 1 : failures + 1
            guard failures < limits.failures else {
                throw OperationError.failed(
                    "move \(move.id) cannot go on: \(trouble)",
                    next: "shardctl move resume \(move.id)")
            }
            progress.enter(progress.phase, note: "trying again: \(trouble)")
            try await Task.sleep(for: min(.milliseconds(50) * (1 << min(failures, 6)), .seconds(2)))
        }
    }

    /// Looks, decides and acts until the move has ended, with one set of connections.
    private func attempt() async throws -> Outcome {
        let links = MoveLinks(cluster: cluster, move: move)
        let target = try await links.target()
        defer { target.close() }
        let source: PostgresConnection
        do {
            source = try await links.source()
        } catch {
            try await announceWithoutSource(target)
            throw error
        }
        defer { source.close() }
        let steps = MoveSteps(runner: self, links: links, source: source, target: target)
        var hasLivingCopy = false
        var strangeLooks = 0
        while true {
            var move = move
            move.sourceTimeline = try await journalled { try await $0.state(of: move.id).timeline }
            let sight = try await MoveSight.read(
                move, source: source, target: target, deadline: .now + MoveLinks.patience)
            if try await isClosed() {
                // Whoever closed it could not know what this runner was about to make.
                try await MoveArtefacts(move: move).drop(source: source, target: target)
                return try await closedOutcome()
            }
            switch MoveDecision.next(sight, hasLivingCopy: hasLivingCopy) {
            case .prepare:
                try await steps.prepare()
            case .wipe:
                try await steps.wipe()
                hasLivingCopy = true
            case .copy:
                hasLivingCopy = false
                try await steps.copy()
            case .attach:
                try await steps.attach()
            case .switchOver:
                try await steps.switchOver(sight)
            case .rollForward:
                try await steps.rollForward(sight)
            case .abort(let reason):
                try await abort(because: reason)
                return .aborted(reason, isReplaceable: true)
            case .finishAbort:
                let isWanted = try await journal.state(of: move.id).note == MoveAbort.byOperator
                try await abort(
                    because: isWanted ? MoveAbort.byOperator : "its abort was cut off")
                return try await closedOutcome()
            case .stop where strangeLooks < 2:
                // The two shards are looked at one after the other: somebody may act in between.
                strangeLooks += 1
                try await Task.sleep(for: .milliseconds(200))
            case .stop(let reason):
                throw OperationError.failed(
                    "move \(move.id) fits no step: \(reason)", next: "shardctl doctor")
            }
        }
    }

    /// Behind the commit point a source that is away must not keep routers from the new owner.
    private func announceWithoutSource(_ target: PostgresConnection) async throws {
        let active: Int = try await target.query(
            """
            select count(*) from shard.slots
            where slot = any ($1::int8[]::int4[]) and state = 'active' and move_id = $2
            """, [move.slots, move.id], deadline: .now + MoveLinks.patience)[0].get(0)
        guard active == move.slots.count else { return }
        try await journalled { try await $0.publish(move) }
    }

    private func isClosed() async throws -> Bool {
        try await journalled { try await $0.state(of: move.id).state != .open }
    }

    private func closedOutcome() async throws -> Outcome {
        let last = try await journalled { try await $0.state(of: move.id) }
        return last.state == .done
            ? .done
            : .aborted(
                last.note ?? "by somebody else",
                isReplaceable: last.note != MoveAbort.byOperator)
    }

    private func abort(because reason: String) async throws {
        try await MoveAbort(cluster: cluster, move: move, limits: limits, watch: watch)
            .run(because: reason)
    }

    /// Asks the journal; a catalog that is away is a connection that failed, and comes back.
    func journalled<Value>(_ body: (MoveJournal) async throws -> Value) async throws -> Value {
        do {
            return try await body(journal)
        } catch let error as OperationError where error.kind == .failed {
            throw MoveError.unreachable(shard: "catalog", reason: error.description)
        }
    }

    /// Notes for people how far the move is. The catalog may be away: that stops no move.
    func note(_ phase: MovePhase, _ fields: MoveFields = MoveFields()) async throws {
        do {
            try await journal.note(move, phase: phase.rawValue, fields)
        } catch let error as OperationError {
            progress.enter(phase, note: "the journal is away: \(error.description)")
        } catch let error as PostgresError {
            progress.enter(phase, note: "the journal is away: \(error)")
        }
    }
}

/// What a runner has told so far.
final class MoveProgress: Sendable {
    private struct Contents {
        var event: MoveEvent
        var start = ContinuousClock.now
    }

    private let contents: Mutex<Contents>
    private let tell: @Sendable (MoveEvent) -> Void

    init(_ move: Move, _ tell: @escaping @Sendable (MoveEvent) -> Void) {
        self.tell = tell
        contents = Mutex(
            Contents(
                event: MoveEvent(
                    move: move.id, source: move.source.name, target: move.target.name,
                    slots: move.slots.count, phase: .opened)))
    }

    var phase: MovePhase { contents.withLock(\.event.phase) }

    func enter(_ phase: MovePhase, note: String? = nil) {
        change {
            $0.phase = phase
            $0.note = note
        }
    }

    func copied(_ counts: CopyCounts, bytes: Int64, note: String?) {
        change {
            $0.phase = .copying
            $0.rows = counts.rows
            $0.expectedRows = counts.expected
            $0.copying = counts.elapsed
            $0.bytes = bytes
            $0.note = note
        }
    }

    private func change(_ body: (inout MoveEvent) -> Void) {
        let event = contents.withLock { contents in
            body(&contents.event)
            contents.event.elapsed = .now - contents.start
            return contents.event
        }
        tell(event)
    }
}
