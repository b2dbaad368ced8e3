/// All rules. To add one, write it into the file of its topic, beside its like.
enum LintRules {
    static let all: [LintRule] =
        columns + columnTypes + constraints + indexes + tables + objects + transactions + rows
        + sharding + work + comments

    /// Rules that tell of a rewrite or a scan better than the general ones do.
    private static let tellingOfWork: Set<String> = Set(
        all.filter { $0.options.contains(.dependsOnSize) }.map(\.name)
    ).union(["changing-column-type", "set-unlogged", "adding-required-field", "ban-truncate"])

    static func findings(in scene: LintScene) -> [LintFinding] {
        let specific = (all.filter { rule in !work.contains { $0.name == rule.name } })
            .flatMap { $0.findings(in: scene) }
        guard !specific.contains(where: { tellingOfWork.contains($0.rule) }) else {
            return specific
        }
        return specific + work.flatMap { $0.findings(in: scene) }
    }

    /// What the prediction says, where no other rule said it.
    private static let work: [LintRule] = [
        LintRule(
            "table-rewrite", .danger, [.dependsOnSize],
            why: "Every row is written anew while readers or writers wait, and the disk holds the "
                + "table twice.",
            instead: "Build the new form beside the old one, copy in small batches, and switch."
        ) { scene in
            guard !scene.effect.isOnline, scene.effect.rewrites != .no else { return [] }
            return [LintRule.Flag(scene.strongestRelation, "the table is written anew")]
        },
        LintRule(
            "blocking-scan", .danger, [.dependsOnSize],
            why: "The whole table is read while its writers wait.",
            instead: "Split the step: first what is quick (NOT VALID, or a nullable column), then "
                + "the proof, such as VALIDATE CONSTRAINT, which holds up nobody."
        ) { scene in
            guard !scene.effect.isOnline, scene.effect.rewrites == .no else { return [] }
            return [LintRule.Flag(scene.strongestRelation, "the table is read under a lock")]
        },
    ]
}

extension LintScene {
    /// The one whose lock holds up the most.
    var strongestRelation: RelationName? {
        effect.locks.max { $0.level < $1.level }
            .flatMap { RelationName(parts: $0.relation.split(separator: ".").map(String.init)) }
    }
}
