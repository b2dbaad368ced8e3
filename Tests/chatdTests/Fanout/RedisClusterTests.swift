import Logging
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// A Redis cluster of three nodes.
@Suite(.timeLimit(.minutes(2))) struct RedisClusterTests {
    private static let rooms = (0..<300).map { RoomID("room-\($0)") }

    @Test func `every room is subscribed to at its node, and heard`() async throws {
        let cluster = try RedisCluster.start()
        let servers = try (0..<2).map { try RedisPubSub.forTest(cluster.nodes[$0].url) }
        try await withRunning(servers) { ears in
            for room in Self.rooms { servers[0].subscribe(to: room) }
            // What was published before anybody knew that there is a cluster is sent, too.
            for room in Self.rooms { servers[1].publish([0], to: room) }
            try await allHeard(servers[0])
            try await eventually { servers[1].isConnected && servers[1].queuedPayloads == 0 }

            for room in Self.rooms { servers[1].publish([1], to: room) }

            await ears[0].wait { events in
                Self.rooms.allSatisfy { events.contains(.payload([1], room: $0)) }
            }
            for (place, node) in cluster.nodes.enumerated() {
                let here = Self.rooms.filter { cluster.slots(at: place).contains(slot(of: $0)) }
                #expect(!here.isEmpty)
                #expect(try node.command("PUBSUB SHARDCHANNELS").hasPrefix("*\(here.count)\r\n"))
                #expect(try node.command("PUBSUB CHANNELS").hasPrefix("*0\r\n"))
            }
        }
    }

    @Test func `a room is let go`() async throws {
        let cluster = try RedisCluster.start()
        let server = try RedisPubSub.forTest(cluster.nodes[0].url)
        try await withRunning([server]) { _ in
            for room in Self.rooms { server.subscribe(to: room) }
            try await allHeard(server)

            for room in Self.rooms { server.unsubscribe(from: room) }

            for node in cluster.nodes {
                try await eventually {
                    try node.command("PUBSUB SHARDCHANNELS").hasPrefix("*0\r\n")
                }
            }
            #expect(server.isConnected)
        }
    }

    @Test func `a room whose slot gets another node is subscribed to there`() async throws {
        let cluster = try RedisCluster.start()
        let servers = try (0..<2).map { try RedisPubSub.forTest(cluster.nodes[$0].url) }
        let room = Self.rooms[0]
        try await withRunning(servers) { ears in
            for server in servers { server.subscribe(to: room) }
            for server in servers { try await allHeard(server, [room]) }
            let slot = slot(of: room)
            let old = (0..<3).first { cluster.slots(at: $0).contains(slot) } ?? 0
            let new = (old + 1) % 3

            try cluster.move(slot: slot, to: new)

            await ears[0].wait(for: .subscribed(room), times: 2)
            try await eventually {
                servers[1].publish([7], to: room)
                return !ears[0].payloads(of: room).isEmpty
            }
            #expect(try cluster.nodes[new].command("PUBSUB SHARDCHANNELS").hasPrefix("*1\r\n"))
            #expect(ears[0].count(of: .disconnected) == 0)
            try await eventually { servers.allSatisfy(\.isConnected) }
        }
    }

    @Test(arguments: [0, 2])
    func `a node that is killed takes only its own rooms along`(killed: Int) async throws {
        let cluster = try RedisCluster.start()
        let servers = try (0..<2).map { _ in try RedisPubSub.forTest(cluster.nodes[0].url) }
        let (lost, kept) = (
            Self.rooms.filter { cluster.slots(at: killed).contains(slot(of: $0)) },
            Self.rooms.filter { !cluster.slots(at: killed).contains(slot(of: $0)) }
        )
        try await withRunning(servers) { ears in
            for room in Self.rooms { servers[0].subscribe(to: room) }
            try await allHeard(servers[0])
            try await eventually { servers[1].isConnected }

            cluster.nodes[killed].kill()
            try await eventually { lost.allSatisfy { !servers[0].hears($0) } }
            #expect(!servers[0].isConnected)
            #expect(kept.allSatisfy { servers[0].hears($0) })
            for room in kept { servers[1].publish([2], to: room) }
            await ears[0].wait { events in
                kept.allSatisfy { events.contains(.payload([2], room: $0)) }
            }
            #expect(ears[0].count(of: .disconnected) == 0)

            try cluster.nodes[killed].start()
            try await allHeard(servers[0])
            try await eventually {
                for room in lost { servers[1].publish([3], to: room) }
                return lost.allSatisfy { ears[0].payloads(of: $0).contains([3]) }
            }
        }
    }

    @Test func `when a replica takes over, its rooms are heard there`() async throws {
        let cluster = try RedisCluster.start()
        let replica = try cluster.addReplica(of: 0)
        // The node that the URL names is the one that dies.
        let servers = try (0..<2).map { _ in try RedisPubSub.forTest(cluster.nodes[0].url) }
        try await withRunning(servers) { ears in
            for room in Self.rooms { servers[0].subscribe(to: room) }
            try await allHeard(servers[0])
            try await eventually { servers[1].isConnected }

            cluster.nodes[0].kill()

            // Nodes have to agree first that one of them is dead.
            try await eventually(within: .seconds(60)) {
                try replica.command("ROLE").contains("master")
                    && servers.allSatisfy { $0.isConnected }
                    && Self.rooms.allSatisfy { servers[0].hears($0) }
            }
            for room in Self.rooms { servers[1].publish([4], to: room) }
            await ears[0].wait { events in
                Self.rooms.allSatisfy { events.contains(.payload([4], room: $0)) }
            }
        }
    }

    @Test func `the rights that the manual names are enough`() async throws {
        let cluster = try RedisCluster.start(nodes: 3, RedisPubSub.rightsOfTheManual)
        let urls = cluster.nodes.map { "redis://chatd:secret@127.0.0.1:\($0.port)" }
        let log = RecordedLog()
        let servers = try (0..<2).map {
            try RedisPubSub.forTest(urls[$0], prefix: "chat:1:", logger: log.logger)
        }
        try await withRunning(servers) { ears in
            for room in Self.rooms { servers[0].subscribe(to: room) }
            try await allHeard(servers[0])
            try await eventually { servers[1].isConnected }

            for room in Self.rooms { servers[1].publish([5], to: room) }

            await ears[0].wait { events in
                Self.rooms.allSatisfy { events.contains(.payload([5], room: $0)) }
            }
            #expect(try cluster.nodes[0].command("PUBSUB CHANNELS").hasPrefix("*0\r\n"))
            for room in Self.rooms { servers[0].unsubscribe(from: room) }
        }
        #expect(log.lines(.warning).isEmpty, "\(log.all)")
    }

    @Test func `a frozen node is noticed, and forgiven when it goes on`() async throws {
        let cluster = try RedisCluster.start()
        var limits = RedisLimits.quick
        limits.heartbeat = .milliseconds(50)
        limits.silence = .milliseconds(400)
        limits.connect = .milliseconds(400)
        let server = try RedisPubSub.forTest(cluster.nodes[0].url, limits: limits)
        try await withRunning([server]) { _ in
            for room in Self.rooms { server.subscribe(to: room) }
            try await allHeard(server)

            cluster.nodes[1].pause()
            try await eventually { !server.isConnected }
            cluster.nodes[1].resume()

            try await allHeard(server)
            try await eventually { server.isConnected }
        }
    }

    // MARK: Help

    private func slot(of room: RoomID) -> Int {
        RedisSlots.slot(of: [UInt8](text: "chat:test:\(room.text)"))
    }

    private func allHeard(_ server: RedisPubSub, _ rooms: [RoomID] = rooms) async throws {
        try await eventually { rooms.allSatisfy { server.hears($0) } }
    }
}
