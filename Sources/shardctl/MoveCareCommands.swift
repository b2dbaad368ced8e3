import ArgumentParser
import Postgres
import ShardOperations
import ShardRouter

extension MoveCommands {
    /// `shardctl move verify`
    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compares old copies with what the new owners have now.",
            discussion: """
                Examples: shardctl move verify 12
                          shardctl move verify --all

                Every move compares all its rows before it switches. This looks again, as long as \
                the old copy is there. Rows that are missing now are a difference (exit code 3), \
                unless the application has deleted them; rows that have changed since are only \
                told, since every room that gets messages changes its own row.
                """)

        @Argument(help: "The move's id.") var move: Int64?
        @Flag(help: "Every finished move whose old copy is still there.") var all = false
        @OptionGroup var common: CommonOptions

        func validate() throws {
            if (move == nil) != all { throw ValidationError("name a move, or --all") }
        }

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                let journal = MoveJournal(cluster: cluster)
                let moves =
                    if let move { [try await journal.move(move)] } else {
                        try await journal.unpurged(isDue: false)
                    }
                var outcomes: [MoveAudit.Outcome] = []
                for move in moves {
                    do {
                        outcomes.append(try await MoveAudit(cluster: cluster, move: move).run())
                    } catch let error as OperationError where all && error.kind == .refused {
                        continue  // Its slots have moved on: the later move tells about them.
                    }
                }
                return Self.report(outcomes)
            }
        }

        private static func report(_ outcomes: [MoveAudit.Outcome]) -> Report {
            let isWhole = outcomes.allSatisfy { $0.missing == 0 }
            let rows = outcomes.map {
                ["\($0.move)", "\($0.rows)", "\($0.missing)", "\($0.changed)"]
            }
            return Report(
                lines: outcomes.isEmpty
                    ? ["no old copy is left to compare with"]
                    : table([["MOVE", "ROWS", "MISSING NOW", "CHANGED SINCE"]] + rows),
                json: [
                    "moves": .list(
                        outcomes.map {
                            .object([
                                "move": .number(Int($0.move)), "rows": .number(Int($0.rows)),
                                "missing": .number(Int($0.missing)),
                                "changed": .number(Int($0.changed)),
                            ])
                        })
                ],
                next: isWhole
                    ? "shardctl move clean" : "if the application did not do this: shardctl doctor",
                exitCode: isWhole ? 0 : 3)
        }
    }

    /// `shardctl move clean`
    struct Clean: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Purges old copies whose grace time has passed, and drops what is orphaned.",
            discussion: "Examples: shardctl move clean\n          shardctl move clean --now --yes")

        @Flag(help: "Old copies at once, whatever their grace time.") var now = false
        @Flag(help: "Confirms --now.") var yes = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                guard !now || yes else {
                    throw OperationError.refused(
                        "--now removes old copies before their grace time has passed",
                        next: "shardctl move clean --now --yes")
                }
                let outcome = try await MoveClean(
                    cluster: try common.cluster(), limits: MoveLimits()
                ).run(isImpatient: now)
                return Self.report(outcome)
            }
        }

        private static func report(_ outcome: MoveClean.Outcome) -> Report {
            var lines = [
                outcome.purged.isEmpty
                    ? "no old copy was due"
                    : "purged the old copies of \(outcome.purged.count) moves"
            ]
            lines += outcome.dropped.map { "dropped \($0)" }
            lines += outcome.problems.map { "warning: \($0)" }
            let next = outcome.waiting.compactMap(\.purgeAfter).min()
            if let next {
                lines.append("\(outcome.waiting.count) stay, the first until \(next.rfc3339)")
            }
            return Report(
                lines: lines,
                json: [
                    "purged": .list(outcome.purged.map { .number(Int($0)) }),
                    "waiting": .list(outcome.waiting.map { .number(Int($0.id)) }),
                    "dropped": .list(outcome.dropped.map { .text($0) }),
                    "problems": .list(outcome.problems.map { .text($0) }),
                ], next: next == nil ? "shardctl status" : "shardctl move clean, after that time",
                exitCode: outcome.problems.isEmpty ? 0 : 1)
        }
    }
}
