import ShardRouter

/// The shards that take part in a plan, with the weights that it gives them.
struct PlanMembers {
    private(set) var list: [Planner.Member] = []
    private var placeByID: [ShardID: Int] = [:]
    private let names: [ShardID: String]

    /// - Throws: a refusal of changes that make no sense.
    init(_ topology: Topology, _ changes: PlanChanges) throws {
        guard !topology.owners.isEmpty else {
            throw OperationError.refused(
                "no shard owns slots yet, so there is nothing to plan",
                next: "shardctl shard add NAME --endpoint …")
        }
        names = Dictionary(uniqueKeysWithValues: topology.shards.map { ($0.id, $0.name) })
        try Self.check(changes, topology)
        let drained = Set(changes.drain)
        for shard in topology.shards where [.active, .draining].contains(shard.state) {
            let leaves = shard.state == .draining || drained.contains(shard.name)
            placeByID[shard.id] = list.count
            list.append(
                Planner.Member(
                    name: shard.name,
                    weight: leaves ? 0 : changes.weights[shard.name] ?? shard.weight))
        }
        for shard in changes.add {
            list.append(Planner.Member(name: shard.name, weight: shard.weight))
        }
        if let stray = Set(topology.owners).sorted().first(where: { placeByID[$0] == nil }) {
            throw OperationError.refused(
                "shard \(names[stray] ?? "\(stray)") owns slots and is not active",
                next: "shardctl doctor")
        }
    }

    func place(of shard: ShardID) -> Int? { placeByID[shard] }

    /// - Precondition: owners take part, which `init` has checked.
    func places(of owners: [ShardID]) -> [Int] {
        owners.map { owner in
            guard let place = placeByID[owner] else {
                preconditionFailure("shard \(owner) owns slots and takes no part")
            }
            return place
        }
    }

    /// A pin holds a slot on its shard, so that shard must be able to keep it.
    func checkPin(_ slot: Int, to shard: ShardID) throws {
        guard let place = placeByID[shard], list[place].weight > 0 else {
            throw OperationError.refused(
                "slot \(slot) is pinned to \(names[shard] ?? "\(shard)"), which is to own nothing",
                next: "shardctl slot unpin \(slot)")
        }
    }

    private static func check(_ changes: PlanChanges, _ topology: Topology) throws {
        var names = Set(topology.shards.map(\.name))
        var endpoints = Set(topology.shards.map(\.endpoint))
        for shard in changes.add {
            guard names.insert(shard.name).inserted else {
                throw OperationError.refused(
                    "there is a shard \(shard.name) already", next: "shardctl shard list")
            }
            guard endpoints.insert(shard.endpoint).inserted else {
                throw OperationError.refused(
                    "the endpoint of \(shard.name) is another shard's", next: "shardctl shard list")
            }
        }
        for name in changes.drain + changes.weights.keys.sorted() {
            guard let shard = topology.shard(named: name) else {
                throw OperationError.refused(
                    "there is no shard '\(name)'", next: "shardctl shard list")
            }
            guard shard.state == .active || shard.state == .draining else {
                throw OperationError.refused(
                    "shard \(name) is \(shard.state.rawValue) and owns nothing",
                    next: "shardctl shard show \(name)")
            }
        }
        for (name, weight) in changes.weights.sorted(by: { $0.key < $1.key }) {
            guard (0...1_000_000).contains(weight) else {
                throw OperationError.refused(
                    "weight \(weight) of \(name) is outside 0 … 1,000,000",
                    next: "shardctl plan --weight \(name)=1")
            }
            guard !changes.drain.contains(name), topology.shard(named: name)?.state == .active
            else {
                throw OperationError.refused(
                    "shard \(name) is to be drained, so it has no weight",
                    next: "leave --weight \(name)=… out")
            }
        }
    }
}
