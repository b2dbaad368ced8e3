import ArgumentParser
import ShardOperations

/// `shardctl doctor`
struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Finds and explains what is not as it should be. Changes nothing.",
        discussion: """
            Example: shardctl doctor --json

            Exit code 0 when all is well, 3 when anything is found.
            """)

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await common.report {
            let findings = try await ShardOperations.Doctor(cluster: try common.cluster()).run()
            return Report(
                lines: findings.isEmpty ? ["all is well"] : findings.flatMap(lines),
                json: [
                    "findings": .list(
                        findings.map { finding in
                            .object([
                                "code": .text(finding.code.rawValue),
                                "severity": .text(finding.severity.rawValue),
                                "shard": finding.shard.map { .text($0) } ?? .null,
                                "detail": .text(finding.detail),
                                "explanation": .text(finding.explanation),
                                "repair": .text(finding.repair),
                            ])
                        })
                ], next: findings.first?.repair ?? "shardctl status",
                exitCode: findings.isEmpty ? 0 : 3)
        }
    }

    private func lines(_ finding: Finding) -> [String] {
        [
            "\(finding.severity.rawValue) \(finding.code.rawValue)"
                + (finding.shard.map { " on \($0)" } ?? "") + ": \(finding.detail)",
            "    \(finding.explanation)", "    repair: \(finding.repair)",
        ]
    }
}
