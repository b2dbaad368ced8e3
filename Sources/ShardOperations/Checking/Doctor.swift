import Postgres
import ShardRouter

/// Finds and explains what is not as it should be, and says what repairs it.
///
/// Looks only: every statement runs in a transaction that cannot write. Shards that are away are
/// named, and the others examined all the same. What the first look sees is believed when a second
/// one sees it too, since moves go on meanwhile.
public struct Doctor: Sendable {
    let cluster: Cluster
    public var limits = DoctorLimits()

    public init(cluster: Cluster, limits: DoctorLimits = DoctorLimits()) {
        self.cluster = cluster
        self.limits = limits
    }

    /// - Returns: the worst kinds first; nothing when all is well.
    /// - Throws: ``OperationError`` when the catalog is out of reach: then nobody knows the shards.
    public func run() async throws -> [Finding] {
        let foreign = ForeignRooms(seed: Int.random(in: 0..<1 << 30))
        do {
            let first = try await look(foreign)
            guard !first.isEmpty else { return [] }
            try await Task.sleep(for: limits.pause)
            return Symptom.findings(Symptom.confirmed(first, try await look(foreign)))
        } catch let error as CatalogError {
            guard case .inconsistent(_, let reason) = error else {
                throw OperationError.failed("\(error)")
            }
            return [
                Finding(
                    code: .catalogContradictsItself, severity: .error, shard: nil,
                    detail: "\(reason)",
                    repair: "restore the catalog from its backup, then: shardctl doctor")
            ]
        }
    }

    private func look(_ foreign: ForeignRooms) async throws -> [Symptom] {
        let deadline = ContinuousClock.now + Cluster.patience
        let catalog = try await cluster.withCatalog {
            try await CatalogFacts.read(cluster, $0, deadline: deadline)
        }
        let reader = ShardReader(
            cluster: cluster, topology: catalog.topology, foreign: foreign,
            patience: limits.patience)
        let shards = catalog.topology.shards.filter { $0.state != .retired }
        let answers = await withTaskGroup(of: (ShardID, ShardAnswer).self) { group in
            for shard in shards {
                group.addTask { (shard.id, await reader.read(shard)) }
            }
            return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        return Diagnosis(
            catalog: catalog, answers: answers,
            catalogSchema: try cluster.migrator(.catalog).migrations.map(\.version),
            shardSchema: try cluster.migrator(.shard).migrations.map(\.version),
            limits: limits
        ).symptoms()
    }
}
