import Postgres
import ShardRouter

/// What the lint says about the files that shards lack, with what these shards know of their tables.
struct FleetLint {
    /// A table up to this size is read, or written anew, before anybody notices.
    static let smallBytes = 8 << 20

    let cluster: Cluster
    let topology: Topology
    let databases: [FleetSurvey.Database]

    /// The lint of one database may take it for granted that the others look the same: they have the
    /// same schema. Only sizes differ, and the biggest counts.
    func findings() async throws -> [LintFinding] {
        let lacking = databases.filter { $0.problem == nil && !$0.plan.pending.isEmpty }
        guard let first = lacking.max(by: { $0.plan.pending.count < $1.plan.pending.count }),
            let shard = first.shard
        else { return [] }
        let deadline = ContinuousClock.now + Cluster.patience
        let facts: SchemaFacts = try await cluster.withMember(shard, of: topology) {
            try await .read($0, deadline: deadline)
        }
        let files = first.plan.pending.map { LintFile($0) }
        let findings = MigrationLint(facts: facts).findings(in: files)
        let relations = Set(findings.filter(\.dependsOnSize).compactMap(\.relation))
        let sizes = try await sizes(of: relations, lacking)
        return findings.filter { finding in
            guard finding.dependsOnSize, let relation = finding.relation else { return true }
            return sizes[relation] ?? 0 > Self.smallBytes
        }
    }

    /// In bytes, at the shard where each is biggest.
    private func sizes(
        of relations: Set<String>, _ databases: [FleetSurvey.Database]
    ) async throws -> [String: Int] {
        guard !relations.isEmpty else { return [:] }
        let names = relations.sorted()
        let answers = await databases.compactMap(\.shard).concurrently(atMost: 16) { shard in
            do {
                return Result<[Int], any Error>.success(
                    try await cluster.withMember(shard, of: topology) { connection in
                        try await connection.query(
                            """
                            select array_agg(coalesce(pg_total_relation_size(to_regclass(name)), 0)
                                order by place)
                            from unnest($1::text[]) with ordinality as n (name, place)
                            """, [names], deadline: .now + Cluster.patience)[0].get(0)
                    })
            } catch {
                return .failure(error)
            }
        }
        var biggest: [String: Int] = [:]
        for answer in answers {
            for (name, bytes) in zip(names, try answer.get()) {
                biggest[name] = max(biggest[name] ?? 0, bytes)
            }
        }
        return biggest
    }

    /// - Throws: a refusal that names every danger.
    func check() async throws {
        let dangers = try await findings().filter { $0.severity == .danger }
        guard !dangers.isEmpty else { return }
        let list = dangers.map { "\n  \($0.file), line \($0.line): \($0.what) (\($0.rule))" }
        throw OperationError.refused(
            "nothing was begun, because the files are dangerous while chat runs:" + list.joined(),
            next: "shardctl migrate plan tells why and what to write instead; "
                + "--accept-findings applies them all the same")
    }
}

extension LintFile {
    public init(_ migration: Migration) {
        self.init(
            name: migration.up.file, isTransactional: migration.up.directives.isTransactional,
            isContract: migration.up.directives.phase == .contract,
            statements: migration.up.statements)
    }
}
