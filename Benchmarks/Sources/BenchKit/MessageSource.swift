import FoundationEssentials
import Logging
import Postgres
package import ShardRouter

/// Makes messages of about 100 bytes for random rooms, cheaply.
package struct MessageSource: Sendable {
    private let rooms: [RoomID]
    private var random: UInt64
    private let text = String(repeating: "x", count: 100)

    package init(rooms: [RoomID]) {
        self.rooms = rooms
        random = .random(in: .min ... .max)
    }

    package mutating func next() -> Message {
        let room = rooms[Int(nextRandom() % UInt64(rooms.count))]
        // No UUID(): that is a call of the kernel.
        var id: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        let words = (nextRandom(), nextRandom())
        withUnsafeMutableBytes(of: &id) { $0.storeBytes(of: words, as: (UInt64, UInt64).self) }
        let now = Timestamp.now
        return Message(
            id: UUID(uuid: id), room: room, author: "somebody", sentAt: now, receivedAt: now,
            text: text)
    }

    /// SplitMix64.
    private mutating func nextRandom() -> UInt64 {
        random &+= 0x9e37_79b9_7f4a_7c15
        var value = random
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

/// Lends a router on `cluster` that runs as long as `body`.
package func withRouter<Value: Sendable>(
    _ cluster: BenchCluster, limits: RouterLimits = RouterLimits(),
    _ body: (ShardRouter) async throws -> Value
) async throws -> Value {
    var logger = Logger(label: "benchmark")
    logger.logLevel = .error
    let router = try await ShardRouter.start(
        RouterConfiguration(catalog: cluster.routerSettings, limits: limits), logger: logger)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await router.run() }
        let value = try await body(router)
        group.cancelAll()
        try await group.waitForAll()
        return value
    }
}
