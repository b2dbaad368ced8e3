import Postgres
import ShardRouter

/// How many moves of a plan run beside each other.
public struct RebalanceLimits: Sendable {
    public var parallel = 2
    /// Moves that read from one shard at once, and that write to one.
    public var perSource = 1
    public var perTarget = 1

    public init() {}
}

/// Carries a saved plan out, exactly as it is; repeated, it goes on where it was cut off.
public struct Rebalance: Sendable {
    public struct Outcome: Sendable {
        public var plan: Plan
        public var moves: [Move]
    }

    let cluster: Cluster
    let limits: RebalanceLimits
    let moveLimits: MoveLimits
    let watch: MoveWatch

    public init(
        cluster: Cluster, limits: RebalanceLimits, moveLimits: MoveLimits,
        onEvent: @escaping @Sendable (MoveEvent) -> Void
    ) {
        self.cluster = cluster
        self.limits = limits
        self.moveLimits = moveLimits
        watch = MoveWatch(event: onEvent)
    }

    private var journal: MoveJournal { MoveJournal(cluster: cluster) }

    /// - Throws: a refusal when the topology has changed since the plan was made, by anything but
    ///   this plan; a failure when a move stays open: what is done is done, and the same call goes on.
    public func run(plan id: Int64) async throws -> Outcome {
        let plan = try await cluster.withCatalog { try await PlanStore.load(id, from: $0) }
        guard plan.state != .done else {
            throw OperationError.refused(
                "plan \(id) is done already", next: "shardctl plan show \(id)")
        }
        try await checkUnchanged(plan)
        try await setState(plan, "started")
        try await apply(plan.changes)
        try await runMoves(of: plan)
        try await setState(plan, "done")
        return Outcome(plan: plan, moves: try await journal.moves(ofPlan: id))
    }

    /// Saves the plan that takes `id` back: its finished moves in the opposite order and direction.
    public func reversal(of id: Int64) async throws -> Plan {
        let plan = try await cluster.withCatalog { try await PlanStore.load(id, from: $0) }
        let topology = try await cluster.topology()
        let done = try await journal.moves(ofPlan: id).filter { move in
            move.state == .done
                && move.slots.allSatisfy { topology.owners[$0] == move.target.id }
        }
        guard !done.isEmpty else {
            throw OperationError.refused(
                "no move of plan \(id) is done and still where it went",
                next: "shardctl plan show \(id)")
        }
        let moves = done.reversed().map {
            PlannedMove(
                source: $0.target.name, target: $0.source.name, slots: $0.slots,
                rows: $0.rows ?? 0, bytes: $0.bytes ?? 0)
        }
        return try await cluster.withCatalog {
            try await PlanStore.save(
                moves, epoch: topology.epoch, balance: nil, reason: "plan \(id) reversed",
                reverses: plan.id, in: $0)
        }
    }

    private func checkUnchanged(_ plan: Plan) async throws {
        let foreign = try await cluster.withCatalog { catalog in
            try await catalog.query(
                """
                select epoch, reason from catalog.topology
                where epoch > $1 and plan_id is distinct from $2 and reason <> all ($3)
                union all
                select null, format('slot %s was pinned', slot) from catalog.pins
                where pinned_at > (select made_at from catalog.plans where id = $2)
                order by 1 limit 1
                """,
                [
                    plan.epoch.number, plan.id,
                    // Adding the plan's own shards is a change by the plan.
                    plan.changes.add.map { "shard \($0.name) added" },
                ], deadline: .now + Cluster.patience)
        }
        guard let row = foreign.first else { return }
        throw OperationError.refused(
            "something has changed since plan \(plan.id) was made: "
                + "\(try row.get(1, as: String.self))", next: "shardctl plan")
    }

    private func setState(_ plan: Plan, _ state: String) async throws {
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                "update catalog.plans set state = $2 where id = $1", [plan.id, state],
                deadline: .now + Cluster.patience)
        }
    }

    /// Each change may have been made before the plan was cut off.
    private func apply(_ changes: PlanChanges) async throws {
        for new in changes.add {
            if let known = try await cluster.topology().shard(named: new.name),
                known.state != .joining, known.endpoint == new.endpoint
            {
                continue
            }
            _ = try await ShardAdding(
                cluster: cluster, name: new.name, endpoint: new.endpoint, weight: new.weight
            ).run()
        }
        let shardChanges = ShardChanges(cluster: cluster)
        for (name, weight) in changes.weights.sorted(by: { $0.key < $1.key }) {
            _ = try await shardChanges.setWeight(name, to: weight)
        }
        for name in changes.drain
        where try await cluster.topology().shard(named: name)?.state != .draining {
            _ = try await shardChanges.drain(name, isUndoing: false)
        }
    }

    // MARK: The moves

    private func runMoves(of plan: Plan) async throws {
        let topology = try await cluster.topology()
        let known = try await journal.moves(ofPlan: plan.id)
        var waiting = plan.steps.filter { step in
            !known.contains { $0.state == .done && $0.slots == step.move.slots }
        }
        let mover = Mover(cluster: cluster, limits: moveLimits, watch: watch)
        try await withThrowingTaskGroup(of: (PlannedMove, (any Error)?).self) { group in
            var running: [PlannedMove] = []
            var failure: (any Error)?
            while failure == nil && !waiting.isEmpty || !running.isEmpty {
                while failure == nil, let place = next(waiting, beside: running) {
                    let step = waiting.remove(at: place)
                    running.append(step.move)
                    let open = known.last { $0.state == .open && $0.slots == step.move.slots }
                    group.addTask {
                        do {
                            try await run(step, of: plan, open: open, topology, mover)
                            return (step.move, nil)
                        } catch {
                            return (step.move, error)
                        }
                    }
                }
                // After a failure nothing more begins, and what runs comes to its own end: a copy that
                // is cut off is lost.
                guard let (ended, error) = try await group.next() else { break }
                failure = failure ?? error
                running.remove(at: running.firstIndex(of: ended) ?? 0)
            }
            if let failure { throw failure }
        }
    }

    /// The move that `step` takes back.
    private func original(of step: Plan.Step, _ plan: Plan) async throws -> Int64? {
        guard let reversed = plan.reverses else { return nil }
        return try await journal.moves(ofPlan: reversed)
            .last { $0.state == .done && $0.slots == step.move.slots }?.id
    }

    /// The first move that may run beside the others.
    private func next(_ waiting: [Plan.Step], beside running: [PlannedMove]) -> Int? {
        guard running.count < limits.parallel else { return nil }
        return waiting.firstIndex { step in
            running.count { $0.source == step.move.source } < limits.perSource
                && running.count { $0.target == step.move.target } < limits.perTarget
        }
    }

    private func run(
        _ step: Plan.Step, of plan: Plan, open: Move?, _ topology: Topology, _ mover: Mover
    ) async throws {
        let done: Move
        if let open {
            done = try await mover.resume(open.id)
        } else {
            guard let source = topology.shard(named: step.move.source),
                let target = topology.shard(named: step.move.target)
            else {
                throw OperationError.failed(
                    "plan \(plan.id) names a shard that is not in the catalog",
                    next: "shardctl plan show \(plan.id)")
            }
            done = try await mover.move(
                step.move.slots, from: source, to: target,
                reason: "plan \(plan.id), move \(step.place)", plan: plan.id,
                reverses: try await original(of: step, plan))
        }
        try await cluster.withCatalog { catalog in
            _ = try await catalog.query(
                """
                update catalog.plan_moves set move_id = $3
                where plan_id = $1 and place = $2::int8::int4
                """, [plan.id, step.place, done.id], deadline: .now + Cluster.patience)
        }
    }
}
