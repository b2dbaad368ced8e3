import ArgumentParser
import Postgres
import ShardOperations
import ShardRouter

/// A slot by its number, or the one of a room.
struct SlotOptions: ParsableArguments {
    @Argument(help: "0 … 16383.") var slot: Int?
    @Option(help: "The slot of this room.") var room: String?

    func validate() throws {
        guard (slot == nil) != (room == nil) else {
            throw ValidationError("name a slot, or a room with --room")
        }
        if let slot, !(0..<Slot.count).contains(slot) {
            throw ValidationError("slots are 0 … \(Slot.count - 1)")
        }
        if room?.isEmpty == true { throw ValidationError("a room's name is not empty") }
    }

    func number(_ cluster: Cluster) async throws -> Slot {
        if let slot { return Slot(slot) }
        return try await cluster.topology().ringHash.slot(of: RoomID(room ?? ""))
    }
}

/// `shardctl slot …`
struct SlotCommands: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "slot", abstract: "Pins slots to shards.",
        subcommands: [Pin.self, Unpin.self, Pins.self])

    struct Pin: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Pins a slot: plans leave it on, or bring it to, this shard.",
            discussion: "Example: shardctl slot pin --room lobby --to shard-d --reason 'too hot'")

        @OptionGroup var slot: SlotOptions
        @Option(name: .customLong("to"), help: "The shard's name.") var target: String
        @Option(help: "Why, for those who come later.") var reason = "pinned by hand"
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                let pin = try await SlotPins(cluster: cluster).pin(
                    try await slot.number(cluster), to: target, reason: reason)
                return Report(
                    lines: [
                        "slot \(pin.slot) is pinned to \(pin.shard)"
                            + (pin.isThere ? "" : ", and on \(pin.owner ?? "no shard") now")
                    ], json: fields(of: pin),
                    next: pin.isThere ? "shardctl slot pins" : "shardctl plan")
            }
        }
    }

    struct Unpin: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes a pin away. Nothing moves by this.",
            discussion: "Example: shardctl slot unpin --room lobby")

        @OptionGroup var slot: SlotOptions
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let cluster = try common.cluster()
                let pin = try await SlotPins(cluster: cluster).unpin(
                    try await slot.number(cluster))
                return Report(
                    lines: ["slot \(pin.slot) is not pinned to \(pin.shard) any more"],
                    json: fields(of: pin), next: "shardctl plan")
            }
        }
    }

    struct Pins: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the pins.", discussion: "Example: shardctl slot pins --json")

        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let pins = try await SlotPins(cluster: try common.cluster()).list()
                let rows = pins.map {
                    [
                        "\($0.slot)", $0.shard, $0.owner ?? "-", $0.pinnedAt.rfc3339, $0.reason,
                    ]
                }
                return Report(
                    lines: pins.isEmpty
                        ? ["no slot is pinned"]
                        : table([["SLOT", "PINNED TO", "OWNER", "SINCE", "REASON"]] + rows),
                    json: ["pins": .list(pins.map { .object(fields(of: $0)) })],
                    next: pins.allSatisfy(\.isThere)
                        ? "shardctl slot pin SLOT --to SHARD" : "shardctl plan")
            }
        }
    }

    /// A pin's stable keys.
    private static func fields(of pin: SlotPins.Pin) -> [String: JSONValue] {
        [
            "slot": .number(pin.slot.number), "shard": .text(pin.shard),
            "owner": pin.owner.map { .text($0) } ?? .null, "reason": .text(pin.reason),
            "pinnedAt": .text(pin.pinnedAt.rfc3339),
        ]
    }
}
