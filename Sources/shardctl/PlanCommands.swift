public import ArgumentParser
import Postgres
public import ShardOperations
import ShardRouter

extension Balance: ExpressibleByArgument {}

/// `shardctl plan …`
struct PlanCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Plans which slots change their shard; nothing is moved yet.",
        discussion: """
            Examples: shardctl plan --add shard-d:'host=10.0.0.4 dbname=chat'
                      shardctl plan --drain shard-a
                      shardctl plan --weight shard-b=2 --by bytes --max-moves 10
                      shardctl plan list
                      shardctl plan show 7

            'shardctl plan make --help' explains the options.
            """,
        subcommands: [Make.self, List.self, Show.self], defaultSubcommand: Make.self)

    struct Make: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a plan and saves it; 'shardctl rebalance' carries it out.",
            discussion: "Example: shardctl plan --add shard-d:'host=10.0.0.4 dbname=chat'")

        @Option(help: "A shard that comes, as NAME:DSN; can be repeated.") var add: [String] = []
        @Option(help: "A shard that gives everything away; can be repeated.")
        var drain: [String] = []
        @Option(help: "A new weight, as NAME=W; can be repeated.") var weight: [String] = []
        @Option(help: "What is made equal: slots, rows, bytes or rate (messages per second).")
        var by = Balance.slots
        @Option(help: "Plan no more than the first moves; each of them helps.")
        var maxMoves: Int?
        @OptionGroup var common: CommonOptions

        func validate() throws {
            _ = try changes()
            if let maxMoves, maxMoves < 1 {
                throw ValidationError("--max-moves is at least 1")
            }
        }

        func run() async throws {
            try await common.report {
                let wishes = PlanWishes(changes: try changes(), balance: by, maxMoves: maxMoves)
                let outcome = try await PlanMaking(
                    cluster: try common.cluster(), wishes: wishes
                ).run()
                return planReport(outcome, wishes)
            }
        }

        private func changes() throws -> PlanChanges {
            var weights = Dictionary(
                try weight.map { text in
                    let (name, weight) = try Self.pair(text, "=", "--weight NAME=W")
                    guard let weight = Int(weight) else {
                        throw ValidationError("'\(weight)' is no whole number")
                    }
                    return (name, weight)
                }, uniquingKeysWith: { $1 })
            return PlanChanges(
                add: try add.map { text in
                    let (name, endpoint) = try Self.pair(text, ":", "--add NAME:DSN")
                    return PlanChanges.NewShard(
                        name: name, endpoint: endpoint,
                        weight: weights.removeValue(forKey: name) ?? 1)
                }, drain: drain, weights: weights)
        }

        private static func pair(
            _ text: String, _ separator: Character, _ form: String
        ) throws -> (String, String) {
            guard let place = text.firstIndex(of: separator) else {
                throw ValidationError("it is \(form)")
            }
            return (String(text[..<place]), String(text[text.index(after: place)...]))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the saved plans, newest first.",
            discussion: "Example: shardctl plan list --json")

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let plans = try await common.cluster().withCatalog {
                    try await PlanStore.list(from: $0)
                }
                return Report(
                    lines: table(
                        [["PLAN", "MADE", "STATE", "MOVES", "SLOTS", "ROWS", "REASON"]]
                            + plans.map {
                                [
                                    "\($0.id)", "\($0.madeAt)", $0.state, "\($0.moves)",
                                    "\($0.slots)", grouped($0.rows), $0.reason,
                                ]
                            }),
                    json: ["plans": .list(plans.map { .object(fields(of: $0)) })],
                    next: plans.first.map { "shardctl plan show \($0.id)" } ?? "shardctl plan")
            }
        }

        private func fields(of plan: PlanStore.Summary) -> [String: JSONValue] {
            [
                "plan": .number(Int(plan.id)), "madeAt": .text("\(plan.madeAt)"),
                "by": .text(plan.balance?.rawValue ?? "choice"), "reason": .text(plan.reason),
                "state": .text(plan.state), "moves": .number(plan.moves),
                "slots": .number(plan.slots), "rows": .number(Int(plan.rows)),
                "bytes": .number(Int(plan.bytes)),
            ]
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows one plan and how far it has come.",
            discussion: "Example: shardctl plan show 7")

        @Argument(help: "The plan's id.") var id: Int64
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let plan = try await common.cluster().withCatalog {
                    try await PlanStore.load(id, from: $0)
                }
                return planReport(plan)
            }
        }
    }
}

extension RingCommands {
    struct Simulate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows how rooms of unequal load would lie, and what adding shards moves.",
            discussion: """
                Needs no cluster. A room's load stands for its rows, bytes and messages alike.
                Example: shardctl ring simulate --shards 3 --rooms 100000 --zipf 1 --add 1
                """)

        @Option(help: "Shards that are there.") var shards = 3
        @Option(help: "Rooms on them.") var rooms = 100_000
        @Option(help: "The n-th room carries 1/n^S of the first one's load; 0 makes all equal.")
        var zipf = 1.0
        @Option(help: "Shards that come.") var add = 1
        @Option(help: "The ring's seed.") var seed: Int64 = 1
        @Option(help: "Only this balance: slots, rows, bytes or rate.") var by: Balance?
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let outcome = try RingSimulation(
                    shards: shards, rooms: rooms, zipf: zipf, add: add, seed: seed
                ).run(by: by.map { [$0] } ?? [.slots, .bytes])
                return simulationReport(outcome)
            }
        }

        private func simulationReport(_ outcome: RingSimulation.Outcome) -> Report {
            let header = [
                "BALANCE", "FULLEST / MEAN", "MOVED", "LEAST POSSIBLE", "OF THE LOAD", "SLOTS",
                "MOVES",
            ]
            let rows = outcome.results.map {
                [
                    "by \($0.balance.rawValue)", decimal($0.maxOverMean), percent($0.movedShare),
                    percent($0.leastShare), percent($0.movedLoad), "\($0.slots)", "\($0.moves)",
                ]
            }
            let warnings = outcome.results.flatMap(\.warnings)
            return Report(
                lines: [
                    "\(shards) shards, \(rooms) rooms, Zipf \(zipf): the fullest shard carries "
                        + "\(decimal(outcome.maxOverMean)) × the mean",
                    "with \(add) more:",
                ] + table([header] + rows) + warnings.map { "warning: \($0)" },
                json: [
                    "shards": .number(shards), "rooms": .number(rooms), "zipf": .decimal(zipf),
                    "add": .number(add), "seed": .number(Int(seed)),
                    "maxOverMean": .decimal(outcome.maxOverMean),
                    "results": .list(
                        outcome.results.map {
                            .object([
                                "by": .text($0.balance.rawValue),
                                "maxOverMean": .decimal($0.maxOverMean),
                                "movedShare": .decimal($0.movedShare),
                                "leastShare": .decimal($0.leastShare),
                                "movedLoad": .decimal($0.movedLoad), "slots": .number($0.slots),
                                "moves": .number($0.moves),
                                "warnings": .list($0.warnings.map { .text($0) }),
                            ])
                        }),
                ], next: "shardctl plan --add NAME:DSN")
        }
    }
}
