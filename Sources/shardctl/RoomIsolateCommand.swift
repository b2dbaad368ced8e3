import ArgumentParser
import ShardOperations
import ShardRouter

extension RoomCommands {
    /// `shardctl room isolate`
    struct Isolate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Moves a hot room to a shard and keeps it there.",
            discussion: """
                Example: shardctl room isolate lobby --to shard-d

                A room moves with its slot, so the few rooms that share the slot go with it. The \
                slot is pinned: 'shardctl slot unpin --room lobby' gives it back to plans.
                """)

        @Argument var room: String
        @Option(help: "The shard that gets it.") var to: String
        @OptionGroup var options: MoveOptions
        @OptionGroup var common: CommonOptions

        func run() async throws {
            try await common.report {
                let view = MoveView(isJSON: common.json)
                defer { view.finish() }
                let outcome = try await RoomIsolation(
                    cluster: try common.cluster(), room: RoomID(room), target: to,
                    limits: options.limits, onEvent: view.show
                ).run()
                let others = max(0, outcome.rooms - 1)
                let way = outcome.move.map { "moved to \(to) by move \($0.id)" } ?? "was on \(to)"
                return Report(
                    lines: [
                        "slot \(outcome.slot) of room \(room) \(way) and is pinned there; "
                            + "\(others) other rooms share the slot"
                    ],
                    json: [
                        "room": .text(room), "slot": .number(outcome.slot.number),
                        "shard": .text(to), "otherRooms": .number(others),
                        "move": outcome.move.map { .number(Int($0.id)) } ?? .null,
                    ], next: "shardctl status --hot")
            }
        }
    }
}
