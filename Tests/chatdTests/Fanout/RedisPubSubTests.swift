import Logging
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// What happens when Redis does not do what it should.
@Suite(.timeLimit(.minutes(2))) struct RedisPubSubTests {
    private static let room = RoomID("lobby")

    @Test func `after a crash of Redis all rooms are subscribed to again and heard`() async throws {
        let redis = try RedisServer.start()
        let rooms = (0..<1_000).map { RoomID("room-\($0)") }
        let servers = try (0..<2).map { _ in try RedisPubSub.forTest(redis.url) }
        try await withRunning(servers) { ears in
            for room in rooms { servers[0].subscribe(to: room) }
            await ears[0].wait { $0.count == rooms.count }
            try await connected(servers)

            redis.kill()
            await ears[0].wait(for: .disconnected)
            #expect(!servers[0].isConnected)
            servers[0].unsubscribe(from: rooms[0])
            servers[0].subscribe(to: Self.room)
            try redis.start()
            await ears[0].wait { $0.count == 2 * rooms.count + 1 }
            try await connected(servers)
            for room in rooms { servers[1].publish([1], to: room) }

            await ears[0].wait(for: .payload([1], room: rooms[999]))
            #expect(ears[0].count(of: .disconnected) == 1)
            #expect(ears[0].count(of: .subscribed(rooms[0])) == 1)
            #expect(ears[0].count(of: .subscribed(Self.room)) == 1)
            for room in rooms.dropFirst() {
                #expect(ears[0].count(of: .subscribed(room)) == 2)
                #expect(ears[0].payloads(of: room) == [[1]])
            }
        }
    }

    @Test func `a server that starts before Redis is heard when Redis comes`() async throws {
        let redis = try RedisServer.stopped()
        let log = RecordedLog()
        let servers = [
            try RedisPubSub.forTest(redis.url, logger: log.logger),
            try RedisPubSub.forTest(redis.url),
        ]
        try await withRunning(servers) { ears in
            servers[0].subscribe(to: Self.room)
            try await eventually { log.lines(.debug).count > 5 }
            #expect(!servers[0].isConnected)

            try redis.start()
            await ears[0].wait(for: .subscribed(Self.room))
            servers[1].publish([1], to: Self.room)
            await ears[0].wait(for: .payload([1], room: Self.room))

            #expect(ears[0].count(of: .disconnected) == 0)
            #expect(log.lines(.warning).count == 2, "one for each connection")
            try await eventually { log.lines(.info).count == 2 }
        }
    }

    @Test func `a hanging Redis is noticed, and forgiven when it goes on`() async throws {
        let redis = try RedisServer.start()
        var limits = RedisLimits.quick
        limits.heartbeat = .milliseconds(50)
        limits.silence = .milliseconds(400)
        limits.connect = .milliseconds(400)
        let servers = try (0..<2).map { _ in
            try RedisPubSub.forTest(redis.url, limits: limits)
        }
        try await withRunning(servers) { ears in
            servers[0].subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))

            redis.pause()
            await ears[0].wait(for: .disconnected)
            #expect(!servers[0].isConnected)
            redis.resume()
            await ears[0].wait(for: .subscribed(Self.room), times: 2)

            try await heard(from: servers[1], by: ears[0])
        }
    }

    @Test func `an idle connection is kept by its heartbeats`() async throws {
        let redis = try RedisServer.start()
        var limits = RedisLimits.quick
        limits.heartbeat = .milliseconds(20)
        limits.silence = .milliseconds(1_000)
        let server = try RedisPubSub.forTest(redis.url, limits: limits)
        try await withRunning([server]) { ears in
            server.subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))
            let before = try pings(redis)

            // Longer than the silence that would end the connection.
            try await eventually { try pings(redis) >= before + 150 }

            #expect(ears[0].events == [.subscribed(Self.room)])
        }
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n\r\n", "*1\r\n$99999999999999999999\r\n", "\0\0\0\0\r\n",
        "+OK\r\n+PONG\r\n:1\r\n", "*3\r\n", "-LOADING Redis is loading\r\n", "",
    ])
    func `something that is not Redis is tried again and again`(answer: String) async throws {
        try await withImpostor(answer) { impostor in
            let log = RecordedLog()
            let server = try RedisPubSub.forTest(
                "redis://127.0.0.1:\(impostor.port)", limits: impatient, logger: log.logger)
            try await withRunning([server]) { ears in
                server.subscribe(to: Self.room)
                server.publish([1], to: Self.room)

                try await eventually { impostor.connections >= 6 }

                #expect(ears[0].count(of: .subscribed(Self.room)) == 0)
            }
        }
    }

    private var impatient: RedisLimits {
        var limits = RedisLimits.quick
        limits.heartbeat = .milliseconds(20)
        limits.silence = .milliseconds(60)
        return limits
    }

    @Test func `a password is given, and never logged`() async throws {
        let redis = try RedisServer.start(["--requirepass", "s3cr@t"])
        let log = RecordedLog()
        let server = try RedisPubSub.forTest(
            "redis://:s3cr%40t@127.0.0.1:\(redis.port)/3", logger: log.logger)
        try await withRunning([server]) { ears in
            server.subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))
        }
        #expect(log.lines(.warning).isEmpty)
        #expect(!log.all.contains("s3cr"))
    }

    @Test func `a wrong password is told as such, and never logged`() async throws {
        let redis = try RedisServer.start(["--requirepass", "s3cret"])
        let log = RecordedLog()
        let server = try RedisPubSub.forTest(
            "redis://ada:wr0ng@127.0.0.1:\(redis.port)", logger: log.logger)
        try await withRunning([server]) { _ in
            try await eventually { log.lines(.debug).count > 5 }
        }
        #expect(log.lines(.warning).allSatisfy { $0.contains("refused AUTH: WRONGPASS") })
        #expect(log.lines(.warning).count == 2)
        #expect(!log.all.contains("wr0ng"))
        #expect(!log.all.contains("ada"))
    }

    @Test func `a user without a right to the channels is told as such`() async throws {
        let redis = try RedisServer.start(
            ["--user", "ada", "on", ">secret", "+@all", "resetchannels", "&other:*"])
        let log = RecordedLog()
        let server = try RedisPubSub.forTest(
            "redis://ada:secret@127.0.0.1:\(redis.port)", logger: log.logger)
        try await withRunning([server]) { ears in
            server.subscribe(to: Self.room)
            for number in 0..<100 { server.publish([UInt8(number)], to: Self.room) }

            try await eventually { log.lines(.warning).count >= 2 }

            #expect(log.all.contains("refused SUBSCRIBE: NOPERM"))
            #expect(log.all.contains("Redis refuses what other servers should hear"))
            #expect(ears[0].count(of: .subscribed(Self.room)) == 0)
        }
    }

    @Test func `the rights that the manual names are enough`() async throws {
        let redis = try RedisServer.start(RedisPubSub.rightsOfTheManual)
        let log = RecordedLog()
        let servers = try (0..<2).map { _ in
            try RedisPubSub.forTest(
                "redis://chatd:secret@127.0.0.1:\(redis.port)", logger: log.logger)
        }
        try await withRunning(servers) { ears in
            servers[0].subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))
            servers[1].publish([1], to: Self.room)
            await ears[0].wait(for: .payload([1], room: Self.room))
            servers[0].unsubscribe(from: Self.room)
            try await eventually { try redis.command("PUBSUB CHANNELS").hasPrefix("*0\r\n") }
        }
        #expect(log.lines(.warning).isEmpty, "\(log.all)")
    }

    @Test func `a server that may hear but not speak is not well connected`() async throws {
        let redis = try RedisServer.start(
            ["--user", "ada", "on", ">secret", "+@all", "-publish", "&*"])
        let log = RecordedLog()
        let server = try RedisPubSub.forTest(
            "redis://ada:secret@127.0.0.1:\(redis.port)", logger: log.logger)
        try await withRunning([server]) { ears in
            server.subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))

            server.publish([1], to: Self.room)
            try await eventually { log.lines(.warning).count == 1 }

            #expect(log.all.contains("Redis refuses what other servers should hear"))
            #expect(!server.isConnected)
            #expect(server.hears(Self.room))
        }
    }

    @Test func `one server has two connections with a name`() async throws {
        let redis = try RedisServer.start()
        let server = try RedisPubSub.forTest(redis.url)
        try await withRunning([server]) { ears in
            for number in 0..<100 { server.subscribe(to: RoomID("room-\(number)")) }
            await ears[0].wait { $0.count == 100 }
            try await connected([server])

            let clients = try redis.command("CLIENT LIST")

            #expect(clients.contains("name=chatd-test-subscriber"))
            #expect(clients.contains("name=chatd-test-publisher"))
            #expect(clients.split(separator: "\n").count { $0.contains("name=chatd") } == 2)
        }
    }

    @Test func `clusters with one Redis do not hear each other`() async throws {
        let redis = try RedisServer.start()
        let servers = [
            try RedisPubSub.forTest(redis.url), try RedisPubSub.forTest(redis.url),
            try RedisPubSub.forTest(redis.url, prefix: "chat:another:"),
        ]
        try await withRunning(servers) { ears in
            for (server, ear) in zip(servers, ears) {
                server.subscribe(to: Self.room)
                await ear.wait(for: .subscribed(Self.room))
            }

            servers[2].publish([2], to: Self.room)
            try await connected(servers)
            servers[1].publish([1], to: Self.room)

            await ears[0].wait(for: .payload([1], room: Self.room))
            #expect(ears[0].payloads(of: Self.room) == [[1]])
            #expect(ears[2].payloads(of: Self.room).isEmpty)
        }
    }

    @Test func `what somebody else publishes on a room's channel is ignored`() async throws {
        let redis = try RedisServer.start()
        let servers = try (0..<2).map { _ in try RedisPubSub.forTest(redis.url) }
        try await withRunning(servers) { ears in
            servers[0].subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))

            for text in ["", "hello", "\\x01", "\\x02aaaaaaaabb"] {
                let answer = try redis.command("PUBLISH chat:test:lobby \"\(text)\"")
                #expect(answer.hasPrefix(":1\r\n"))
            }
            servers[1].publish([1], to: Self.room)

            await ears[0].wait(for: .payload([1], room: Self.room))
            #expect(ears[0].payloads(of: Self.room) == [[1]])
        }
    }
}

// MARK: - Bounds

extension RedisPubSubTests {
    @Test func `what waits for Redis is bounded, and the newest is kept`() async throws {
        let redis = try RedisServer.stopped()
        var limits = RedisLimits.quick
        limits.queuedPayloads = 1_000
        limits.payloadAge = .seconds(60)
        let servers = try (0..<2).map { _ in try RedisPubSub.forTest(redis.url, limits: limits) }
        servers[1].subscribe(to: Self.room)
        for number in 0..<5_000 {
            servers[0].publish([UInt8](text: "\(number)"), to: Self.room)
        }
        #expect(servers[0].queuedPayloads == 1_000)
        #expect(servers[0].droppedPayloads == 4_000)

        try await withRunning([servers[1]]) { ears in
            try redis.start()
            await ears[0].wait(for: .subscribed(Self.room))
            try await withRunning([servers[0]]) { _ in
                await ears[0].wait { $0.count == 1_001 }
            }

            let kept = (4_000..<5_000).map { [UInt8](text: "\($0)") }
            #expect(ears[0].payloads(of: Self.room) == kept)
        }
    }

    @Test func `bytes that wait for Redis are bounded`() async throws {
        var limits = RedisLimits.quick
        limits.queuedBytes = 10_000
        let server = try RedisPubSub.forTest("redis://127.0.0.1:1", limits: limits)

        for _ in 0..<100 { server.publish(.init(repeating: 0, count: 995), to: Self.room) }

        #expect(server.queuedPayloads == 10)
        #expect(server.droppedPayloads == 90)
    }

    @Test func `what waited for too long is not sent`() async throws {
        let redis = try RedisServer.start()
        var limits = RedisLimits.quick
        limits.payloadAge = .zero
        let server = try RedisPubSub.forTest(redis.url, limits: limits)
        server.publish([1], to: Self.room)

        try await withRunning([server]) { _ in
            try await eventually { server.droppedPayloads == 1 }
        }

        #expect(server.queuedPayloads == 0)
    }

    @Test func `a Redis that does not read fills no memory`() async throws {
        let redis = try RedisServer.start()
        var limits = RedisLimits.quick
        limits.queuedPayloads = 100
        let server = try RedisPubSub.forTest(redis.url, limits: limits)
        try await withRunning([server]) { _ in
            try await connected([server])
            redis.pause()
            let payload = [UInt8](repeating: 0, count: 16_384)

            // The kernel takes some megabytes; what comes after them has to wait.
            try await eventually {
                server.publish(payload, to: Self.room)
                return server.queuedPayloads == 100
            }
            for _ in 0..<1_000 { server.publish(payload, to: Self.room) }

            #expect(server.queuedPayloads == 100)
            #expect(server.droppedPayloads > 900)
        }
    }
}

// MARK: - The end

extension RedisPubSubTests {
    @Test(arguments: ["running", "hanging", "away"])
    func `it ends at once, however Redis is`(state: String) async throws {
        let redis = try RedisServer.stopped()
        var limits = RedisLimits()
        limits.firstPause = .seconds(60)
        limits.longestPause = .seconds(60)
        limits.connect = .seconds(60)
        limits.silence = .seconds(60)
        let log = RecordedLog()
        let server = try RedisPubSub.forTest(redis.url, limits: limits, logger: log.logger)
        if state != "away" { try redis.start() }
        if state == "hanging" { redis.pause() }
        let ear = Ear()
        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            group.addTask { await ear.listen(to: server) }
            switch state {
            case "running": try await eventually { server.isConnected }
            case "away": try await eventually { log.lines(.warning).count == 2 }
            default: await Task.yield()
            }
            let start = ContinuousClock.now

            group.cancelAll()
            try await group.waitForAll()

            #expect(ContinuousClock.now - start < .seconds(5))
        }
        await ear.waitForEnd()
    }

    // MARK: Help

    /// Returns when what these servers publish reaches Redis.
    private func connected(_ servers: [RedisPubSub]) async throws {
        for server in servers {
            server.publish([], to: RoomID("nobody is here"))
            try await eventually { server.isConnected && server.queuedPayloads == 0 }
        }
    }

    /// Publishes until it is heard: a connection may be lost once more after a hang.
    private func heard(from server: RedisPubSub, by ear: Ear) async throws {
        try await eventually {
            if server.queuedPayloads == 0 { server.publish([9], to: Self.room) }
            return !ear.payloads(of: Self.room).isEmpty
        }
    }

    /// How many PINGs Redis was sent.
    private func pings(_ redis: RedisServer) throws -> Int {
        let statistics = try redis.command("INFO commandstats")
        guard let line = statistics.split(separator: "cmdstat_ping:calls=").dropFirst().first
        else { return 0 }
        return Int(line.prefix { $0.isNumber }) ?? 0
    }
}
