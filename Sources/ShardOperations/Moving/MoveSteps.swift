import Postgres
import ShardRouter

/// The steps of a move, on one pair of sessions. Each can be repeated; none decides what comes next.
struct MoveSteps: Sendable {
    let runner: MoveRunner
    let links: MoveLinks
    let source: PostgresConnection
    let target: PostgresConnection

    private var move: Move { runner.move }
    private var limits: MoveLimits { runner.limits }
    private var watch: MoveWatch { runner.watch }
    private var patience: ContinuousClock.Instant { .now + MoveLinks.patience }

    /// Step 2.
    func prepare() async throws {
        runner.progress.enter(.preparing)
        try await runner.note(.preparing)
        try await target.step(
            "move_prepare($1, $2::int8[]::int4[])", [move.id, move.slots], deadline: patience)
        try await watch.reached(.prepared, move)
    }

    /// Step 3.
    func wipe() async throws {
        runner.progress.enter(.wiping)
        let wipe = MoveWipe(move: move, limits: limits, expected: "preparing")
        try await wipe.run(target)
        try await watch.reached(.wiped, move)
        try await target.step(
            "move_import($1, $2::int8[]::int4[])", [move.id, move.slots], deadline: patience)
        try await watch.reached(.imported, move)
    }

    /// Steps 4 and 4′.
    func copy() async throws {
        runner.progress.enter(.connecting)
        try await runner.note(.connecting)
        let tables = try await MoveTable.read(source, deadline: patience)
        let copy = MoveCopy(links: links, tables: tables, limits: limits, watch: watch)
        let timeline = try await withThrowingTaskGroup(of: Int?.self) { group in
            group.addTask {
                try await copy.run { runner.progress.enter(.connecting, note: "waits: \($0)") }
            }
            group.addTask {
                try await PaceKeeper(links: links, copy: copy, limits: limits) { note in
                    runner.progress.copied(copy.counts, bytes: copy.gate.bytes, note: note)
                }.run()
                return nil
            }
            defer { group.cancelAll() }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw OperationError.failed("the copy ended without a result")
        }
        runner.progress.copied(copy.counts, bytes: copy.gate.bytes, note: nil)
        try await watch.reached(.copied, move)
        var fields = MoveFields()
        (fields.rows, fields.bytes) = (copy.counts.rows, copy.gate.bytes)
        fields.timeline = timeline
        try await runner.note(.copying, fields)
        try await subscribe()
        try await watch.reached(.subscribed, move)
    }

    private func subscribe() async throws {
        let address = try links.subscriptionSource()
        try await target.transaction(deadline: patience) {
            try await target.step(
                "move_hold($1, $2::int8[]::int4[], 'importing')", [move.id, move.slots],
                deadline: patience)
            _ = try await target.query(
                Statement(
                    """
                    create subscription \(move.name) connection \(literal(address))
                    publication \(move.name)
                    with (create_slot = false, slot_name = \(move.name), copy_data = false,
                        synchronous_commit = off)
                    """, isPrepared: false), deadline: patience)
        }
    }

    /// A subscription that was switched off or detached goes on.
    func attach() async throws {
        try await target.script(
            """
            alter subscription \(move.name) disable;
            alter subscription \(move.name) set (slot_name = \(move.name));
            alter subscription \(move.name) enable
            """, deadline: patience)
    }

    /// Steps 5 to 8, after catching up and comparing.
    func switchOver(_ sight: MoveSight) async throws {
        if case .fenced = sight.source, case .importing(let attempt) = sight.target {
            // Whoever fenced has gone. Comparing takes longer than a fence may last.
            try await MoveLift(move: move, source: source, target: target, watch: watch)
                .run(attempt)
        }
        runner.progress.enter(.catchingUp)
        try await runner.note(.catchingUp)
        let tables = try await MoveTable.read(source, deadline: patience)
        let changes = ChangeWatch(move: move)
        let replication = try await links.source(replication: true)
        defer { replication.close() }
        let reader = try await links.source()
        defer { reader.close() }
        let side = try await links.target()
        defer { side.close() }
        _ = try await side.query("set synchronous_commit = off", deadline: patience)
        let catchUp = MoveCatchUp(
            steps: self,
            switching: MoveSwitch(
                move: move, source: source, target: target, side: side,
                verification: MoveVerification(move: move, tables: tables, watch: changes),
                limits: limits, watch: watch))
        // Behind already by what was written during the copy: that first, without a second reader.
        try await catchUp.untilClose(isWatched: false)
        let snapshot = try await changes.makeSlot(replication)
        try await reader.script(
            "begin isolation level repeatable read read only; "
                + "set transaction snapshot \(literal(snapshot))", deadline: patience)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await changes.follow(replication) }
            group.addTask { try await catchUp.compareAndSwitch(snapshot: reader) }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Steps 8 to 11.
    func rollForward(_ sight: MoveSight) async throws {
        runner.progress.enter(.releasing)
        if case .fenced = sight.source {
            try await source.step(
                "move_release($1, $2::int8[]::int4[], $3, $4::int8::int4)",
                [move.id, move.slots, move.epochs, move.target.id.number], deadline: patience)
            try await watch.reached(.released, move)
        }
        try await runner.journalled { try await $0.publish(move) }
        try await watch.reached(.announced, move)
        runner.progress.enter(.cleaning)
        try await MoveArtefacts(move: move).drop(source: source, target: target)
        try await watch.reached(.slotDropped, move)
        try await runner.journalled {
            try await $0.close(move, as: .done, note: nil, grace: limits.grace)
        }
        try await watch.reached(.closed, move)
        runner.progress.enter(.done)
    }
}

/// Brings the target up to the source, compares, and switches when both are close.
struct MoveCatchUp: Sendable {
    let steps: MoveSteps
    let switching: MoveSwitch

    private var runner: MoveRunner { steps.runner }
    private var limits: MoveLimits { steps.runner.limits }
    private var verification: MoveVerification { switching.verification }

    /// Rows that are left for the comparison behind the fence: it takes a millisecond or two.
    private static let lastRows = 100
    /// Comparisons of what changed, before the fence is tried all the same.
    private static let rounds = 20

    /// Marks until one arrives within the bound.
    ///
    /// - Parameter isWatched: whether the verification follows the log already.
    func untilClose(isWatched: Bool) async throws {
        while true {
            try await checkLog()
            let start = ContinuousClock.now
            do {
                try await catchUp(within: .seconds(2), isWatched: isWatched)
            } catch MoveError.notReady {
                runner.progress.enter(.catchingUp, note: try await reasonOfLag())
                continue
            }
            if .now - start <= limits.lag { break }
            // A machine or a way that is never quicker than this must not look like nothing at all.
            runner.progress.enter(
                .catchingUp, note: "waits: the target is more than \(limits.lag) behind")
        }
        try await runner.watch.reached(.caughtUp, runner.move)
    }

    /// One mark there, and back.
    private func catchUp(within duration: Duration, isWatched: Bool) async throws {
        let mark = try await switching.mark(deadline: .now + MoveLinks.patience)
        if isWatched {
            try await switching.arrival(
                of: mark, every: .milliseconds(5), deadline: .now + duration)
        } else {
            try await switching.atTarget(
                mark, every: .milliseconds(5), deadline: .now + duration)
        }
    }

    /// Compares everything, then what changes, and switches; tries again after a lifted fence.
    func compareAndSwitch(snapshot: PostgresConnection) async throws {
        runner.progress.enter(.verifying)
        let patient = Duration.seconds(3_600)
        var (changed, rows) = try await verification.compareAll(
            source: snapshot, target: steps.target
        ) {
            try await otherMark(within: patient)
        }
        snapshot.close()
        var fields = MoveFields()
        fields.isVerified = true
        fields.rows = rows
        try await runner.note(.verifying, fields)
        try await runner.watch.reached(.compared, runner.move)
        var pause = limits.pauseAfterLift
        var lifts = 0
        while true {
            try await settle(&changed)
            try await awaitWriters()
            runner.progress.enter(.switching)
            do {
                let rows = changed
                changed = [:]
                let duration = try await switching.run(changed: rows)
                fields = MoveFields()
                fields.pauseMilliseconds = duration / .milliseconds(1)
                return try await runner.note(.releasing, fields)
            } catch MoveError.notReady(let why) {
                fields = MoveFields(note: "the fence was lifted: \(why)")
                fields.lifts = 1
                try await runner.note(.catchingUp, fields)
                runner.progress.enter(.catchingUp, note: fields.note)
                try await Task.sleep(for: pause * Double.random(in: 0.75...1.25))
                pause = min(pause * 2, limits.longestPause)
                lifts += 1
                guard lifts < limits.lifts else {
                    throw OperationError.failed(
                        "the fence of move \(runner.move.id) was lifted \(lifts) times, the last time "
                            + "because \(why)",
                        next:
                            "shardctl move resume \(runner.move.id) --fence-budget MS, or abort it")
                }
            }
        }
    }

    /// A transaction that has been open for long would only be waited for behind the fence.
    private func awaitWriters() async throws {
        while true {
            do {
                return try await switching.drain(deadline: .now + .seconds(1))
            } catch MoveError.notReady(let why) {
                runner.progress.enter(.catchingUp, note: "waits: \(why)")
            }
        }
    }

    /// Compares what has changed until little of it is left.
    private func settle(_ changed: inout [String: Set<RowKey>]) async throws {
        try await untilClose(isWatched: true)
        var suspects: [String: Set<RowKey>] = [:]
        for _ in 0..<Self.rounds {
            changed.merge(verification.watch.take()) { $0.union($1) }
            guard Self.count(changed) > Self.lastRows else { return }
            (changed, suspects) = try await verification.compareAgain(
                changed, source: steps.source, target: steps.target
            ) {
                try await catchUp(within: .seconds(600), isWatched: true)
            }
            changed.merge(suspects) { $0.union($1) }
        }
        guard Self.count(suspects) <= Self.lastRows else {
            throw MoveError.differs(
                "\(Self.count(suspects)) rows that changed during the move differ between "
                    + "\(runner.move.source.name) and \(runner.move.target.name)")
        }
    }

    private static func count(_ rows: [String: Set<RowKey>]) -> Int {
        rows.values.reduce(0) { $0 + $1.count }
    }

    /// The target's own session is in a transaction: the mark is looked for by another one.
    private func otherMark(within duration: Duration) async throws {
        let mark = try await switching.mark(deadline: .now + MoveLinks.patience)
        let looking = MoveSwitch(
            move: switching.move, source: switching.source, target: switching.side,
            side: switching.side, verification: verification, limits: limits,
            watch: switching.watch)
        try await looking.arrival(of: mark, every: .milliseconds(2), deadline: .now + duration)
    }

    /// The move must not fill the source's disk.
    private func checkLog() async throws {
        let sight = try await MoveSight.read(
            runner.move, source: steps.source, target: steps.target,
            deadline: .now + MoveLinks.patience)
        guard case .usable(let held) = sight.replicationSlot else {
            throw MoveError.changed(step: "catching up: the replication slot is gone")
        }
        guard held <= limits.heldLogBytes else { throw MoveError.logFull(heldBytes: held) }
    }

    private func reasonOfLag() async throws -> String {
        let row = try await steps.target.query(
            """
            select coalesce((select apply_error_count from pg_stat_subscription_stats
                where subname = $1), 0)
            """, [runner.move.name], deadline: .now + MoveLinks.patience)[0]
        let errors: Int64 = try row.get(0)
        return errors == 0
            ? "the target is more than 2 s behind"
            : "the target failed \(errors) times to apply a change: see its server's log"
    }
}
