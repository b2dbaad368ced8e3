import ArgumentParser
import Foundation
import Postgres
import ShardOperations
import ShardRouter

/// How moves behave.
struct MoveOptions: ParsableArguments {
    @Option(
        help: """
            The longest time from fence to switch, in milliseconds; then the fence is lifted and \
            the move goes on catching up.
            """)
    var fenceBudget = 150
    @Option(help: "How long the source keeps its old copy, in minutes.") var grace = 60
    @Option(help: "Copies of one move beside each other.") var workers = 2
    @Option(help: "The copy is never slowed below this, in MiB/s.") var floor = 2
    @Option(help: "A move that holds back more of its source's log is aborted, in MiB.")
    var maxLog = 8_192

    func validate() throws {
        guard (1...60_000).contains(fenceBudget) else {
            throw ValidationError("--fence-budget is 1 to 60000 milliseconds")
        }
        guard (0...525_600).contains(grace) else {
            throw ValidationError("--grace is 0 to 525600 minutes")
        }
        guard (1...16).contains(workers) else { throw ValidationError("--workers is 1 to 16") }
        guard (1...100_000).contains(floor) else { throw ValidationError("--floor is 1 or more") }
        guard maxLog >= 16 else { throw ValidationError("--max-log is 16 or more") }
    }

    var limits: MoveLimits {
        var limits = MoveLimits()
        limits.fence = .milliseconds(fenceBudget)
        limits.grace = .seconds(60 * grace)
        limits.workers = workers
        limits.floorBytesPerSecond = Double(floor) * 1_048_576
        limits.heldLogBytes = Int64(maxLog) << 20
        return limits
    }
}

/// `shardctl rebalance …`
struct RebalanceCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebalance",
        abstract: "Moves rooms as a plan says, while everybody goes on writing.",
        discussion: """
            Examples: shardctl rebalance 7
                      shardctl rebalance 7 --parallel 4 --per-source 2
                      shardctl rebalance reverse 7

            It may be stopped at any moment: the same command goes on. 'shardctl rebalance run \
            --help' explains the options.
            """,
        subcommands: [Run.self, Reverse.self], defaultSubcommand: Run.self)

    struct Options: ParsableArguments {
        @Option(help: "Moves beside each other.") var parallel = 2
        @Option(help: "Moves that read from one shard at once.") var perSource = 1
        @Option(help: "Moves that write to one shard at once.") var perTarget = 1
        @OptionGroup var moves: MoveOptions

        func validate() throws {
            guard [parallel, perSource, perTarget].allSatisfy((1...64).contains) else {
                throw ValidationError("--parallel, --per-source and --per-target are 1 to 64")
            }
        }
    }

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Carries a plan out.", discussion: "Example: shardctl rebalance 7")

        @Argument(help: "The plan's id.") var plan: Int64
        @OptionGroup var options: Options
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                try await carryOut(plan, options, common)
            }
        }
    }

    struct Reverse: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Brings back what a plan has moved, as a plan of its own.",
            discussion: "Example: shardctl rebalance reverse 7")

        @Argument(help: "The plan's id.") var plan: Int64
        @OptionGroup var options: Options
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let reversal = try await rebalance(options, common) { _ in }
                    .reversal(of: plan)
                return try await carryOut(reversal.id, options, common)
            }
        }
    }

    private static func rebalance(
        _ options: Options, _ common: CommonOptions,
        _ onEvent: @escaping @Sendable (MoveEvent) -> Void
    ) throws -> Rebalance {
        var limits = RebalanceLimits()
        limits.parallel = options.parallel
        limits.perSource = options.perSource
        limits.perTarget = options.perTarget
        return Rebalance(
            cluster: try common.cluster(), limits: limits, moveLimits: options.moves.limits,
            onEvent: onEvent)
    }

    private static func carryOut(
        _ plan: Int64, _ options: Options, _ common: CommonOptions
    ) async throws -> Report {
        let view = MoveView(isJSON: common.json)
        defer { view.finish() }
        let outcome = try await rebalance(options, common, view.show).run(plan: plan)
        let done = outcome.moves.filter { $0.state == .done }
        let rows = done.reduce(0) { $0 + ($1.rows ?? 0) }
        let pauses = done.compactMap(\.pauseMilliseconds)
        return Report(
            lines: [
                "plan \(plan) is done: \(done.count) moves, \(rows) rows, longest fence "
                    + "\(Int((pauses.max() ?? 0).rounded(.up))) ms",
                "old copies stay for \(options.moves.grace) min, so that a reversal could be "
                    + "checked against them; afterwards: shardctl move clean",
            ],
            json: [
                "plan": .number(Int(plan)), "moves": .list(done.map { .object(fields(of: $0)) }),
                "rows": .number(Int(rows)),
                "longestFenceMilliseconds": .decimal(pauses.max() ?? 0),
            ], next: "shardctl status")
    }
}

/// `shardctl move …`
struct MoveCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "move", abstract: "Shows, resumes, aborts, reverses and verifies moves.",
        subcommands: [
            List.self, Show.self, Resume.self, Abort.self, Reverse.self, Verify.self, Clean.self,
        ])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the moves that are open, or the latest ones.",
            discussion: "Examples: shardctl move list\n          shardctl move list --all")

        @Flag(help: "The latest 100 moves, closed ones too.") var all = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let journal = MoveJournal(cluster: try common.cluster())
                let moves = try await all ? journal.latest(100) : journal.openMoves()
                let rows = moves.map { move in
                    [
                        "\(move.id)", move.source.name, move.target.name, "\(move.slots.count)",
                        move.state == .open ? move.phase : move.state.rawValue,
                        move.rows.map { "\($0)" } ?? "-", move.note ?? "",
                    ]
                }
                let open = moves.first { $0.state == .open }
                return Report(
                    lines: moves.isEmpty
                        ? [all ? "nothing was moved yet" : "no move is open"]
                        : table([["MOVE", "FROM", "TO", "SLOTS", "STATE", "ROWS", ""]] + rows),
                    json: ["moves": .list(moves.map { .object(fields(of: $0)) })],
                    next: open.map { "shardctl move resume \($0.id)" }
                        ?? (all ? "shardctl status" : "shardctl move list --all"))
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows one move.", discussion: "Example: shardctl move show 12")

        @Argument(help: "The move's id.") var move: Int64
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let move = try await MoveJournal(cluster: try common.cluster()).move(move)
                let next =
                    switch move.state {
                    case .open: "shardctl move resume \(move.id)"
                    case .done: "shardctl move verify \(move.id)"
                    case .aborted: "shardctl move list"
                    }
                return Report(
                    lines: table(Self.rows(move)), json: fields(of: move), next: next)
            }
        }

        private static func rows(_ move: Move) -> [[String]] {
            [
                ["move", "\(move.id)"], ["reason", move.reason],
                ["from", move.source.name], ["to", move.target.name],
                ["slots", "\(move.slots.count): \(move.slotRanges)"],
                ["state", move.state.rawValue], ["phase", move.phase],
                ["opened", move.openedAt.rfc3339], ["closed", move.closedAt?.rfc3339 ?? "-"],
                ["rows", move.rows.map { "\($0)" } ?? "-"],
                ["copied", move.bytes.map(megabytes) ?? "-"],
                ["fence", move.pauseMilliseconds.map { "\(Int($0.rounded(.up))) ms" } ?? "-"],
                ["lifted fences", "\(move.lifts)"],
                ["verified", move.verifiedAt?.rfc3339 ?? "-"],
                ["old copy", Self.oldCopy(move)],
                ["runner", move.runner ?? "-"], ["seen", move.seenAt?.rfc3339 ?? "-"],
                ["note", move.note ?? "-"],
            ]
        }

        private static func oldCopy(_ move: Move) -> String {
            if let purgedAt = move.purgedAt { return "purged \(purgedAt.rfc3339)" }
            guard let purgeAfter = move.purgeAfter else { return "-" }
            return "stays until \(purgeAfter.rfc3339)"
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes up a move that nobody runs any more, from any machine.",
            discussion: "Examples: shardctl move resume 12\n          shardctl move resume --all")

        @Argument(help: "The move's id.") var move: Int64?
        @Flag(help: "Every open move that nobody runs.") var all = false
        @Flag(help: "Although another runner seems to be at work: its machine is gone.")
        var takeOver = false
        @OptionGroup var options: MoveOptions
        @OptionGroup var common: CommonOptions

        func validate() throws {
            if (move == nil) != all { throw ValidationError("name a move, or --all") }
        }

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                let view = MoveView(isJSON: common.json)
                defer { view.finish() }
                let mover = Mover(cluster: cluster, limits: options.limits, onEvent: view.show)
                let ids =
                    if let move { [move] } else {
                        try await MoveJournal(cluster: cluster).openMoves().map(\.id)
                    }
                var done: [Move] = []
                for id in ids {
                    done.append(try await mover.resume(id, isTakingOver: takeOver))
                }
                return Report(
                    lines: done.isEmpty
                        ? ["no move is open"]
                        : done.map { "move \($0.id) is \($0.state.rawValue)" },
                    json: ["moves": .list(done.map { .object(fields(of: $0)) })],
                    next: "shardctl status")
            }
        }
    }

    struct Abort: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends a move before its switch: the source keeps everything.",
            discussion: """
                Examples: shardctl move abort 12 --yes
                          shardctl move abort 12 --target-lost --yes

                --target-lost is for a target whose server is gone for ever, and only for that: if \
                it came back as it was, two shards could own the rooms.
                """)

        @Argument(help: "The move's id.") var move: Int64
        @Flag(help: "The target's server is gone for ever.") var targetLost = false
        @Flag(help: "Confirms it.") var yes = false
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                let open = try await MoveJournal(cluster: cluster).move(move)
                guard yes else {
                    throw OperationError.refused(
                        "aborting move \(move) throws away what it has copied to "
                            + "\(open.target.name); \(open.source.name) keeps everything",
                        next: "shardctl move abort \(move) --yes")
                }
                let abort = MoveAbort(cluster: cluster, move: open, limits: MoveLimits())
                if targetLost {
                    try await abort.runWithoutTarget()
                } else {
                    try await abort.run(because: MoveAbort.byOperator)
                }
                return Report(
                    lines: ["move \(move) is aborted; \(open.source.name) owns its slots"],
                    json: ["move": .number(Int(move)), "state": .text("aborted")],
                    next: open.plan.map { "shardctl rebalance \($0)" } ?? "shardctl plan")
            }
        }
    }

    struct Reverse: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Brings the slots of a finished move back, by a new move.",
            discussion: "Example: shardctl move reverse 12")

        @Argument(help: "The move's id.") var move: Int64
        @OptionGroup var options: MoveOptions
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let view = MoveView(isJSON: common.json)
                defer { view.finish() }
                let done = try await Mover(
                    cluster: try common.cluster(), limits: options.limits, onEvent: view.show
                ).reverse(move)
                return Report(
                    lines: ["move \(done.id) has brought them back to \(done.target.name)"],
                    json: fields(of: done), next: "shardctl move show \(done.id)")
            }
        }
    }
}

/// A move's stable keys.
func fields(of move: Move) -> [String: JSONValue] {
    [
        "id": .number(Int(move.id)), "plan": move.plan.map { .number(Int($0)) } ?? .null,
        "source": .text(move.source.name), "target": .text(move.target.name),
        "slots": .list(move.slots.map { .number($0) }), "state": .text(move.state.rawValue),
        "phase": .text(move.phase), "reason": .text(move.reason),
        "note": move.note.map { .text($0) } ?? .null,
        "reverses": move.reverses.map { .number(Int($0)) } ?? .null,
        "openedAt": .text(move.openedAt.rfc3339),
        "closedAt": move.closedAt.map { .text($0.rfc3339) } ?? .null,
        "rows": move.rows.map { .number(Int($0)) } ?? .null,
        "bytes": move.bytes.map { .number(Int($0)) } ?? .null,
        "liftedFences": .number(move.lifts),
        "fenceMilliseconds": move.pauseMilliseconds.map { .decimal($0) } ?? .null,
        "verifiedAt": move.verifiedAt.map { .text($0.rfc3339) } ?? .null,
        "purgeAfter": move.purgeAfter.map { .text($0.rfc3339) } ?? .null,
        "purgedAt": move.purgedAt.map { .text($0.rfc3339) } ?? .null,
        "runner": move.runner.map { .text($0) } ?? .null,
    ]
}
