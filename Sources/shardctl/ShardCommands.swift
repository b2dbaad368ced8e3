import ArgumentParser
import FoundationEssentials
import ShardOperations
import ShardRouter

/// `shardctl init`
struct Init: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes the catalog of a new cluster.",
        discussion:
            "Example: shardctl init --catalog 'host=127.0.0.1 user=postgres dbname=catalog'")

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await common.report {
            let (id, seed) = try await common.cluster().initialise()
            return Report(
                lines: ["cluster \(id.uuidString.lowercased()), ring seed \(seed)"],
                json: ["cluster": .text(id.uuidString.lowercased()), "seed": .number(Int(seed))],
                next: "shardctl shard add NAME --endpoint 'host=… dbname=…'")
        }
    }
}

/// `shardctl shard …`
struct ShardCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shard", abstract: "Adds, shows, changes and removes shards.",
        subcommands: [
            Add.self, List.self, Show.self, Set.self, Drain.self, Remove.self,
        ])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Adds a shard: with its share of the slots while nothing is stored yet, "
                + "else empty.",
            discussion: "Example: shardctl shard add shard-d "
                + "--endpoint 'host=127.0.0.1 port=54324 dbname=chat'")

        @Argument(help: "1–40 of a–z, 0–9 and hyphens.") var name: String
        @Option(help: "A libpq connection string without user and password.") var endpoint: String
        @Option(help: "Its share relative to the others.") var weight = 1
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let outcome = try await ShardAdding(
                    cluster: try common.cluster(), name: name, endpoint: endpoint, weight: weight
                ).run()
                var json = fields(of: outcome.shard, outcome.slots)
                json["id"] = .number(outcome.shard.id.number)
                json["warnings"] = .list(outcome.warnings.map { .text($0) })
                json["notes"] = .list(outcome.notes.map { .text($0) })
                return Report(
                    lines: ["shard \(name) owns \(outcome.slots) slots"]
                        + outcome.warnings.map { "warning: \($0)" }
                        + outcome.notes.map { "note: \($0)" },
                    json: json, next: outcome.slots == 0 ? "shardctl plan" : "shardctl ring show")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the shards.", discussion: "Example: shardctl shard list --json")

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let topology = try await common.cluster().topology()
                let counts = topology.slotCounts
                let rows = topology.shards.map {
                    [
                        $0.name, $0.state.rawValue, "\($0.weight)", "\(counts[$0.id] ?? 0)",
                        $0.endpoint,
                    ]
                }
                return Report(
                    lines: table([["NAME", "STATE", "WEIGHT", "SLOTS", "ENDPOINT"]] + rows),
                    json: [
                        "shards": .list(
                            topology.shards.map { .object(fields(of: $0, counts[$0.id] ?? 0)) })
                    ], next: "shardctl status")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows one shard.", discussion: "Example: shardctl shard show shard-a")

        @Argument var name: String
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let topology = try await common.cluster().topology()
                guard let shard = topology.shard(named: name) else {
                    throw OperationError.refused(
                        "there is no shard '\(name)'", next: "shardctl shard list")
                }
                let slots = topology.slotCounts[shard.id] ?? 0
                return Report(
                    lines: table([
                        ["name", shard.name], ["state", shard.state.rawValue],
                        ["weight", "\(shard.weight)"], ["slots", "\(slots)"],
                        ["endpoint", shard.endpoint],
                    ]), json: fields(of: shard, slots), next: "shardctl psql \(name)")
            }
        }
    }
}

/// A shard's stable keys.
func fields(of shard: Shard, _ slots: Int) -> [String: JSONValue] {
    [
        "name": .text(shard.name), "state": .text(shard.state.rawValue),
        "weight": .number(shard.weight), "slots": .number(slots),
        "endpoint": .text(shard.endpoint),
    ]
}

/// `shardctl ring …`
struct RingCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ring", abstract: "Shows who owns the ring.",
        subcommands: [Show.self, Simulate.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows each shard's share.", discussion: "Example: shardctl ring show --json")

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let topology = try await common.cluster().topology()
                let shares = topology.shards.map { ($0, topology.slotCounts[$0.id] ?? 0) }
                let rows = shares.map { shard, slots in
                    let hundredths = slots * 10_000 / Slot.count
                    let cents = "\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
                    return [
                        shard.name, "\(slots)", "\(hundredths / 100).\(cents) %",
                        String(repeating: "█", count: slots * 40 / Slot.count),
                    ]
                }
                return Report(
                    lines: ["epoch \(topology.epoch), \(Slot.count) slots"]
                        + table([["SHARD", "SLOTS", "SHARE", ""]] + rows),
                    json: [
                        "epoch": .number(Int(topology.epoch.number)),
                        "slots": .number(Slot.count),
                        "shards": .list(shares.map { .object(fields(of: $0, $1)) }),
                    ], next: "shardctl room locate ROOM")
            }
        }
    }
}

/// `shardctl room locate`
struct RoomCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "room", abstract: "Finds rooms, and isolates hot ones.",
        subcommands: [Locate.self, Isolate.self])

    struct Locate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says on which shard a room lives, and whether that shard agrees.",
            discussion: "Example: shardctl room locate lobby --json")

        @Argument var room: String
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let location = try await common.cluster().locate(RoomID(room))
                let verdict =
                    location.agrees
                    ? "the shard agrees" : "the shard says: \(location.stateAtShard)"
                return Report(
                    lines: table([
                        ["room", room], ["slot", "\(location.slot)"],
                        ["shard", location.shard.name], ["endpoint", location.shard.endpoint],
                        ["agrees", verdict],
                    ]),
                    json: [
                        "room": .text(room), "slot": .number(location.slot.number),
                        "shard": .text(location.shard.name),
                        "endpoint": .text(location.shard.endpoint),
                        "agrees": .flag(location.agrees),
                    ], next: "shardctl psql \(location.shard.name)",
                    exitCode: location.agrees ? 0 : 3)
            }
        }
    }
}
