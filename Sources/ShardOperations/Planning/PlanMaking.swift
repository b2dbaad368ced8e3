import Postgres
import ShardRouter

/// What the operator wants of a plan.
public struct PlanWishes: Sendable {
    public var changes: PlanChanges
    public var balance: Balance
    /// The most moves; nil for as many as it takes.
    public var maxMoves: Int?

    public init(
        changes: PlanChanges = PlanChanges(), balance: Balance = .slots, maxMoves: Int? = nil
    ) {
        self.changes = changes
        self.balance = balance
        self.maxMoves = maxMoves
    }
}

/// Makes a plan: looks at the cluster, decides, saves. Nothing else is changed.
public struct PlanMaking: Sendable {
    public struct Outcome: Sendable {
        /// nil when nothing is to be moved.
        public var plan: Plan?
        public var shares: [ShardShare]
        public var warnings: [String]
    }

    let cluster: Cluster
    let wishes: PlanWishes
    /// See ``LoadReader/pause``.
    var pause: (@Sendable () async throws -> Void)?

    public init(cluster: Cluster, wishes: PlanWishes) {
        self.cluster = cluster
        self.wishes = wishes
    }

    /// - Throws: ``OperationError``; then no plan is saved.
    public func run() async throws -> Outcome {
        for shard in wishes.changes.add {
            try ShardAdding(
                cluster: cluster, name: shard.name, endpoint: shard.endpoint, weight: shard.weight
            ).check()
        }
        let topology = try await cluster.topology()
        let members = try PlanMembers(topology, wishes.changes)
        let (pins, open) = try await cluster.withCatalog { try await settledSlots($0) }
        for (slot, shard) in pins.sorted(by: { $0.key < $1.key }) {
            try members.checkPin(slot, to: shard)
        }
        var reader = LoadReader(cluster: cluster, topology: topology)
        if let pause { reader.pause = pause }
        let reading = await reader.read(withRate: wishes.balance == .rate)
        try checkAnswers(reading, topology)

        var owners = topology.owners
        for (slot, target) in open { owners[slot] = target }
        var planner = Planner(
            members: members.list, owners: members.places(of: owners), loads: reading.loads,
            balance: wishes.balance)
        planner.pins = pins.compactMapValues { members.place(of: $0) }
        planner.settled = Set(open.keys)
        if let most = wishes.maxMoves { planner.limits.moves = most }
        var decision = try decide(planner)
        decision.warnings += warnings(reading, topology, open: open)
        for shard in wishes.changes.add {
            let adding = ShardAdding(
                cluster: cluster, name: shard.name, endpoint: shard.endpoint,
                weight: shard.weight)
            guard let obstacle = try await adding.obstacle(topology) else { continue }
            decision.warnings.append(
                "the plan cannot be carried out before this is mended: \(obstacle)")
        }
        return Outcome(
            plan: try await save(decision.moves, topology.epoch), shares: decision.shares,
            warnings: decision.warnings)
    }

    private func decide(_ planner: Planner) throws -> Planner.Decision {
        do throws(ClaimError) {
            return try planner.decide()
        } catch {
            switch error {
            case .noWeight:
                throw OperationError.refused(
                    "no shard with a weight is left to take the slots",
                    next: "shardctl plan --add NAME:DSN")
            case .negativeWeight(let shard):
                throw OperationError.refused(
                    "the weight of \(planner.members[shard.number - 1].name) is below 0",
                    next: "choose a weight of 0 … 1,000,000")
            }
        }
    }

    private func save(_ moves: [PlannedMove], _ epoch: Epoch) async throws -> Plan? {
        guard !moves.isEmpty else { return nil }
        return try await cluster.withCatalog {
            try await PlanStore.save(
                moves, epoch: epoch, balance: wishes.balance, reason: reason,
                changes: wishes.changes, in: $0)
        }
    }

    private var reason: String {
        let changes = wishes.changes
        let parts =
            changes.add.map { "add \($0.name)" } + changes.drain.map { "drain \($0)" }
            + changes.weights.sorted { $0.key < $1.key }.map { "weigh \($0.key) \($0.value)" }
        return (parts + ["balance \(wishes.balance.rawValue)"]).joined(separator: ", ")
    }

    /// Pins, and where open moves bring their slots.
    private func settledSlots(
        _ catalog: PostgresConnection
    ) async throws -> (pins: [Int: ShardID], open: [Int: ShardID]) {
        let answers: [Rows]
        do throws(PostgresError) {
            answers = try await catalog.pipeline(
                [
                    Statement("select slot, shard_id from catalog.pins"),
                    Statement(
                        """
                        select s.slot, m.target_id
                        from catalog.moving_slots s join catalog.moves m on m.id = s.move_id
                        """),
                ], deadline: .now + Cluster.patience)
        } catch {
            guard error.sqlState == "42P01" else { throw error }
            throw OperationError.refused(
                "the catalog's schema is older than plans", next: "shardctl migrate up")
        }
        return (try Self.shardsBySlot(answers[0]), try Self.shardsBySlot(answers[1]))
    }

    private static func shardsBySlot(_ rows: Rows) throws -> [Int: ShardID] {
        try rows.reduce(into: [:]) { $0[try $1.get(0)] = ShardID(try $1.get(1)) }
    }

    /// Slots can be counted without the shards; what they carry cannot.
    private func checkAnswers(_ reading: LoadReader.Reading, _ topology: Topology) throws {
        let owners = Set(topology.owners)
        for shard in topology.shards where owners.contains(shard.id) {
            if wishes.balance != .slots, let problem = reading.problems[shard.name] {
                throw OperationError.failed(
                    "shard \(shard.name) does not say what it carries: \(problem)",
                    next: "bring it back, or plan --by slots")
            }
        }
    }

    private func warnings(
        _ reading: LoadReader.Reading, _ topology: Topology, open: [Int: ShardID]
    ) -> [String] {
        let unknown = reading.problems.sorted { $0.key < $1.key }.map {
            "shard \($0.key) did not answer, so its rows and bytes are missing here: \($0.value)"
        }
        let joining = topology.shards.filter { $0.state == .joining }.map {
            "shard \($0.name) is joining and takes no part: repeat 'shardctl shard add'"
        }
        let moving =
            open.isEmpty
            ? [] : ["\(open.count) slots are in open moves; the plan takes them as arrived"]
        return unknown + joining + moving
    }
}
