import BenchKit
import ShardOperations
import ShardRouter

/// A fourth shard beside three: what its plan moves, and how even the shards are afterwards.
struct BalancePhase {
    let stage: MoveStage

    func run(_ report: inout Report) async throws {
        let cluster = try await stage.cluster("balance", shards: 4, owning: 3)
        let data = DataSet(rows: stage.extent.rows, rooms: stage.extent.rows / 20)
        for shard in cluster.databases.shards.prefix(3) { try await data.fill(shard) }
        try await cluster.settle()
        let before = try await bytes(cluster.operations)
        let outcome = try await PlanMaking(
            cluster: cluster.operations, wishes: PlanWishes(balance: .bytes)
        ).run()
        guard let plan = outcome.plan else {
            throw BenchError(description: "there is nothing to balance")
        }
        // What shards are short of has to arrive, whatever the plan is.
        let share = before.reduce(0, +) / Double(before.count)
        let least = before.map { max(0, share - $0) }.reduce(0, +)
        let start = ContinuousClock.now
        var copied = 0.0
        for step in plan.steps {
            let move = try await carryOut(step.move, in: cluster.operations)
            copied += Double(move.rows ?? 0)
        }
        let seconds = (ContinuousClock.now - start).seconds
        let moved = Double(plan.moves.map(\.bytes).reduce(0, +))
        report.add(
            Figure(
                name: "balance: bytes of the plan, least possible", ratio: moved / least,
                ours: moved / 1_048_576, rival: least / 1_048_576, unit: "MiB",
                target: .atMost(1.05),
                note: "Zipf(1.0) rooms, \(plan.moves.count) moves, "
                    + "\(short(copied)) rows in \(short(seconds)) s"))
        let after = try await bytes(cluster.operations)
        report.series["balance: bytes before"] = before
        report.series["balance: bytes after"] = after
        report.add(
            Figure(
                name: "balance: fullest shard above the mean, bytes", ours: Self.excess(after),
                rival: Self.excess(before), unit: "%", target: .atMost(2),
                note: "rival: before"))
    }

    private func carryOut(_ planned: PlannedMove, in cluster: Cluster) async throws -> Move {
        let topology = try await cluster.topology()
        guard let source = topology.shard(named: planned.source),
            let target = topology.shard(named: planned.target)
        else { throw BenchError(description: "the plan names a shard that is not there") }
        return try await moved(
            planned.slots, from: source.id.number, to: target.id.number, in: cluster
        ).move
    }

    /// Of what each shard owns.
    private func bytes(_ cluster: Cluster) async throws -> [Double] {
        let topology = try await cluster.topology()
        let reading = await LoadReader(cluster: cluster, topology: topology).read(withRate: false)
        guard reading.problems.isEmpty else {
            throw BenchError(description: "\(reading.problems)")
        }
        return topology.shards.map { shard in
            topology.slots(of: shard.id.number).reduce(0) {
                $0 + reading.loads.load(of: $1, by: .bytes)
            }
        }
    }

    private static func excess(_ bytes: [Double]) -> Double {
        let mean = bytes.reduce(0, +) / Double(bytes.count)
        return 100 * ((bytes.max() ?? 0) / mean - 1)
    }
}
