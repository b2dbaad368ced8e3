import Postgres
public import ShardRouter

/// Moves slots from one shard to another: pre-flight, journal, and a runner until it is done.
public struct Mover: Sendable {
    /// A move that was aborted because its copy was lost is made anew so often.
    private static let replacements = 3

    let cluster: Cluster
    let limits: MoveLimits
    let watch: MoveWatch
    /// As ``MoveRunner/isExclusive``.
    var isExclusive: Bool

    public init(
        cluster: Cluster, limits: MoveLimits,
        onEvent: @escaping @Sendable (MoveEvent) -> Void = { _ in }
    ) {
        self.init(cluster: cluster, limits: limits, watch: MoveWatch(event: onEvent))
    }

    init(cluster: Cluster, limits: MoveLimits, watch: MoveWatch, isExclusive: Bool = true) {
        self.cluster = cluster
        self.limits = limits
        self.watch = watch
        self.isExclusive = isExclusive
    }

    private var journal: MoveJournal { MoveJournal(cluster: cluster) }

    /// Moves `slots` and returns when their new owner has them all.
    ///
    /// - Throws: a refusal, naming every blocker, before anything was changed; a failure when the move
    ///   stays open or could not be replaced after an abort.
    public func move(
        _ slots: [Int], from source: Shard, to target: Shard, reason: String, plan: Int64? = nil,
        reverses: Int64? = nil
    ) async throws -> Move {
        for attempt in 1... {
            let move = try await open(
                slots, from: source, to: target, reason: reason, plan: plan, reverses: reverses)
            switch try await run(move) {
            case .done:
                return try await journal.move(move.id)
            case .aborted(let why, let isReplaceable):
                guard isReplaceable, attempt < Self.replacements else {
                    throw OperationError.failed(
                        "move \(move.id) was aborted: \(why)", next: "shardctl move list")
                }
            }
        }
        preconditionFailure("the loop returns or throws")
    }

    /// Finds every blocker, then writes the move into the journal.
    func open(
        _ slots: [Int], from source: Shard, to target: Shard, reason: String, plan: Int64? = nil,
        reverses: Int64? = nil
    ) async throws -> Move {
        let topology = try await cluster.topology()
        // What a runner left that was killed after somebody else had closed its move.
        let clean = MoveClean(cluster: cluster, limits: limits)
        for shard in [source, target] { _ = try await clean.dropOrphans(shard, topology) }
        let warnings = try await MovePreflight(
            cluster: cluster, topology: topology, source: source, target: target, slots: slots
        ).run()
        let move = try await journal.open(
            slots, from: source, to: target, reason: reason, plan: plan, reverses: reverses)
        for warning in warnings { MoveProgress(move, watch.event).enter(.checking, note: warning) }
        return move
    }

    /// Takes an open move to its end.
    public func run(_ move: Move) async throws -> MoveRunner.Outcome {
        try await watch.reached(.opened, move)
        return try await MoveRunner(
            cluster: cluster, move: move, limits: limits, watch: watch, isExclusive: isExclusive
        ).run()
    }

    /// Takes up an open move, whoever began it. One whose copy was lost is aborted and made anew.
    ///
    /// - Parameter isTakingOver: do so although another runner seems to be at work: its machine may
    ///   be gone without the catalog having noticed. If it is not, no harm is done.
    public func resume(_ id: Int64, isTakingOver: Bool = false) async throws -> Move {
        var mover = self
        mover.isExclusive = !isTakingOver
        return try await mover.resumeOpen(id)
    }

    private func resumeOpen(_ id: Int64) async throws -> Move {
        let move = try await journal.move(id)
        guard move.state == .open else {
            throw OperationError.refused(
                "move \(id) is \(move.state.rawValue) already", next: "shardctl move show \(id)")
        }
        switch try await run(move) {
        case .done: return try await journal.move(id)
        case .aborted(let why, let isReplaceable):
            guard isReplaceable else {
                throw OperationError.failed(
                    "move \(id) was aborted: \(why)", next: "shardctl move list")
            }
            return try await self.move(
                move.slots, from: move.source, to: move.target, reason: move.reason,
                plan: move.plan, reverses: move.reverses)
        }
    }

    /// Brings the slots of a finished move back, by a new move with the same guarantees.
    public func reverse(_ id: Int64) async throws -> Move {
        let move = try await journal.move(id)
        guard move.state == .done else {
            throw OperationError.refused(
                "move \(id) is \(move.state.rawValue), so there is nothing to bring back",
                next: move.state == .open
                    ? "shardctl move abort \(id) --yes" : "shardctl move list --all")
        }
        let owners = try await cluster.topology().owners
        let gone = move.slots.count { owners[$0] != move.target.id }
        guard gone == 0 else {
            throw OperationError.refused(
                "\(gone) of the \(move.slots.count) slots of move \(id) have left "
                    + "\(move.target.name) since, by later moves",
                next: "shardctl move list --all")
        }
        return try await self.move(
            move.slots, from: move.target, to: move.source, reason: "move \(id) reversed",
            reverses: id)
    }
}
