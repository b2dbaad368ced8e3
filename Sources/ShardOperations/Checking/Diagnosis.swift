import ShardRouter

/// When something counts as trouble.
public struct DoctorLimits: Sendable {
    /// No fence of a move that goes on lasts so long.
    public var fence = Duration.seconds(5)
    /// A runner writes down more often that it lives.
    public var silence = Duration.seconds(60)
    /// A transaction that was prepared is committed at once.
    public var prepared = Duration.seconds(60)
    /// The log that a move may hold back, in bytes.
    public var heldBytes = 1 << 30
    /// How long one shard may take to answer everything.
    public var patience = Duration.seconds(60)
    /// Between the two looks, longer than a step of a move takes.
    public var pause = Duration.seconds(1)

    public init() {}
}

/// Compares what the catalog and the shards say. A pure value: the same facts, the same symptoms.
struct Diagnosis: Sendable {
    let catalog: CatalogFacts
    let answers: [ShardID: ShardAnswer]
    /// The versions of the files.
    let catalogSchema: [Int]
    let shardSchema: [Int]
    let limits: DoctorLimits

    /// The shards that answered, by id.
    let shards: [(shard: Shard, facts: ShardFacts)]

    init(
        catalog: CatalogFacts, answers: [ShardID: ShardAnswer], catalogSchema: [Int],
        shardSchema: [Int], limits: DoctorLimits
    ) {
        self.catalog = catalog
        self.answers = answers
        self.catalogSchema = catalogSchema
        self.shardSchema = shardSchema
        self.limits = limits
        shards = catalog.topology.shards.compactMap { shard in
            guard case .facts(let facts)? = answers[shard.id] else { return nil }
            return (shard, facts)
        }
    }

    func symptoms() -> [Symptom] {
        reachability() + ownership() + leftovers() + openMoves() + artefacts() + contents()
            + surroundings()
    }

    func name(_ id: ShardID) -> String {
        catalog.topology.shard(id)?.name ?? "number \(id)"
    }

    func facts(_ id: ShardID) -> ShardFacts? {
        guard case .facts(let facts)? = answers[id] else { return nil }
        return facts
    }

    /// Whether every shard that may own something has answered.
    var isComplete: Bool {
        answers.values.allSatisfy {
            switch $0 {
            case .facts, .unfinished: true
            case .away, .stranger: false
            }
        }
    }

    // MARK: - Shards that cannot be asked

    private func reachability() -> [Symptom] {
        catalog.topology.shards.flatMap { shard -> [Symptom] in
            func symptom(
                _ code: Finding.Code, _ severity: Finding.Severity, _ detail: String,
                _ repair: String
            ) -> [Symptom] {
                [
                    Symptom(
                        code: code, severity: severity, shard: shard.name, subject: .whole,
                        detail: detail, repair: repair)
                ]
            }
            switch answers[shard.id] {
            case .away(let reason) where shard.state == .joining:
                return symptom(
                    .unfinishedAddition, .warning, "it is joining, and \(reason)",
                    repeatAddition(of: shard))
            case .away(let reason):
                return symptom(
                    .shardAway, .error, reason,
                    "start its server, or: shardctl shard set \(shard.name) --endpoint 'host=…'")
            case .stranger(let other):
                return symptom(
                    .wrongDatabase, .error, "its endpoint leads to another database: \(other)",
                    "shardctl shard set \(shard.name) --endpoint 'host=…'")
            case .unfinished, .facts, nil:
                guard shard.state == .joining else { return [] }
                return symptom(
                    .unfinishedAddition, .warning, "it is joining", repeatAddition(of: shard))
            }
        }
    }

    func repeatAddition(of shard: Shard) -> String {
        "shardctl shard add \(shard.name) --endpoint '\(shard.endpoint)' --weight \(shard.weight)"
    }

    // MARK: - Open moves

    private func openMoves() -> [Symptom] {
        catalog.openMoves.values.flatMap { move -> [Symptom] in
            var symptoms: [Symptom] = []
            if !move.isRunning, move.silence > limits.silence {
                symptoms.append(
                    Symptom(
                        code: .moveWithoutRunner, severity: .warning, shard: name(move.target),
                        subject: .move(move.id),
                        detail:
                            "move \(move.id) from \(name(move.source)), in phase \(move.phase): "
                            + "nothing was heard of it for \(move.silence.components.seconds) s"
                            + (move.runner.map { ", last of \($0)" } ?? ""),
                        repair: "shardctl move resume \(move.id)"))
            }
            return symptoms + atSource(move) + atTarget(move)
        }
    }

    private func atSource(_ move: CatalogFacts.Move) -> [Symptom] {
        guard let source = facts(move.source) else { return [] }
        let slots = source.replicationSlots.filter {
            $0.artefact.move == move.id && !$0.artefact.isForVerifying
        }
        func symptom(
            _ code: Finding.Code, _ severity: Finding.Severity, _ detail: String,
            _ repair: String
        ) -> Symptom {
            Symptom(
                code: code, severity: severity, shard: name(move.source),
                subject: .move(move.id), detail: detail, repair: repair)
        }
        let abort = "shardctl move abort \(move.id) --yes"
        guard let slot = slots.first else {
            let isSubscribed =
                facts(move.target)?.subscriptions.contains { $0.artefact.move == move.id } ?? false
            return isSubscribed
                ? [
                    symptom(
                        .replicationSlotLost, .error,
                        "move \(move.id) has a subscription at \(name(move.target)) and no "
                            + "replication slot", abort)
                ] : []
        }
        switch slot.walStatus {
        case "lost":
            return [
                symptom(
                    .replicationSlotLost, .error,
                    "\(slot.artefact.name) of move \(move.id) is lost",
                    abort)
            ]
        case "unreserved":
            return [
                symptom(
                    .replicationSlotLost, .warning,
                    "\(slot.artefact.name) of move \(move.id) is about to be lost: it holds more "
                        + "than max_slot_wal_keep_size",
                    "shardctl move resume \(move.id)")
            ]
        default:
            guard slot.heldBytes > limits.heldBytes else { return [] }
            return [
                symptom(
                    .replicationSlotHoldsLog, .warning,
                    "\(slot.artefact.name) of move \(move.id) holds \(slot.heldBytes >> 20) MiB",
                    "shardctl move resume \(move.id), or: \(abort)")
            ]
        }
    }

    private func atTarget(_ move: CatalogFacts.Move) -> [Symptom] {
        let own = facts(move.target)?.subscriptions.filter { $0.artefact.move == move.id } ?? []
        let resume = "shardctl move resume \(move.id)"
        return own.flatMap { subscription -> [Symptom] in
            var symptoms: [Symptom] = []
            func add(_ code: Finding.Code, _ detail: String, _ repair: String) {
                symptoms.append(
                    Symptom(
                        code: code, severity: .warning, shard: name(move.target),
                        subject: .move(move.id), detail: detail, repair: repair))
            }
            // A runner makes it disabled and enables it in its next step.
            if !subscription.isEnabled, !move.isRunning {
                add(
                    .subscriptionDisabled,
                    "\(subscription.artefact.name) of move \(move.id) is disabled", resume)
            }
            if subscription.applyErrors > 0 {
                add(
                    .subscriptionFails,
                    "\(subscription.artefact.name) of move \(move.id) has failed "
                        + "\(subscription.applyErrors) times",
                    "\(resume); if it goes on failing: shardctl move abort \(move.id) --yes")
            }
            return symptoms
        }
    }
}
