import Foundation
import Logging
import Postgres
import ShardRouter

guard let catalog = ProcessInfo.processInfo.environment["SHARD_CATALOG"] else {
    fatalError("set SHARD_CATALOG to the catalog's libpq connection string, or use ./run")
}
let router = try await ShardRouter.start(
    RouterConfiguration(
        catalog: try ConnectionSettings(catalog), topologyFile: ".topology/last.json",
        applicationName: "reactions"),
    logger: Logger(label: "reactions"))

// The router works while run() runs.
try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask { try await router.run() }
    try await showReactions(router)
    group.cancelAll()
}

func showReactions(_ router: ShardRouter) async throws {
    let store = ReactionStore(router: router)
    for name in ["library", "kitchen", "garden"] {
        let room = RoomID(name)
        // A message of our own, stored in the room's shard. Its id makes a repetition harmless.
        let message = Message(
            id: UUID(), room: room, author: "ada", sentAt: .now, receivedAt: .now,
            text: "What shall we do with the \(name)?")
        let receipt = try await router.store(message, patience: .seconds(5))
        for (author, emoji) in [("bo", "👍"), ("cy", "👍"), ("cy", "👍"), ("di", "🎉")] {
            _ = try await store.add(emoji, to: message.id, by: author, in: room)
        }
        let totals = try await store.totals(in: room).map { "\($0.emoji) \($0.total)" }
        let shard = router.topology.shard(receipt.shard)?.name ?? "?"
        print(
            "\(name): message \(receipt.seq) on \(shard), reactions",
            totals.joined(separator: ", "))
    }
    print("reactions in all rooms:", try await store.count())
}
