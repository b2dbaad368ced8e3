import Logging
import ShardRouter
import TestKit
import Testing

@testable import chatd

@Suite(.timeLimit(.minutes(1))) struct RedisTLSTests {
    private static let room = RoomID("lobby")

    @Test(arguments: ["localhost", "127.0.0.1"])
    func `servers hear each other over TLS, with a password`(host: String) async throws {
        let certificates = try TestCertificates()
        let (redis, port) = try start(
            certificates, names: ["DNS:localhost", "IP:127.0.0.1"],
            ["--user", "ada", "on", ">secret", "+@all", "&*"])
        let log = RecordedLog()
        let servers = try (0..<2).map { _ in
            try server(
                "rediss://ada:secret@\(host):\(port)", authority: certificates.authority, log)
        }
        try await withRunning(servers) { ears in
            servers[0].subscribe(to: Self.room)
            await ears[0].wait(for: .subscribed(Self.room))

            servers[1].publish([1], to: Self.room)

            await ears[0].wait(for: .payload([1], room: Self.room))
            let clients = try redis.command("CLIENT LIST").split(separator: "\n")
                .filter { $0.contains("name=test-") }
            #expect(clients.count >= 3)
            #expect(clients.allSatisfy { $0.contains("laddr=127.0.0.1:\(port) ") })
        }
        #expect(log.lines(.warning).isEmpty)
    }

    @Test(arguments: ["localhost", "127.0.0.1"])
    func `a certificate for another name is refused`(host: String) async throws {
        let certificates = try TestCertificates()
        let (_, port) = try start(
            certificates, names: ["DNS:redis.example", "IP:127.0.0.2"], [])

        try await expectRefusal("rediss://\(host):\(port)", certificates.authority)
    }

    @Test func `a certificate of an unknown authority is refused`() async throws {
        let (certificates, others) = (try TestCertificates(), try TestCertificates())
        let (_, port) = try start(certificates, names: ["DNS:localhost"], [])

        try await expectRefusal("rediss://localhost:\(port)", others.authority)
    }

    @Test func `a Redis that does not encrypt is refused`() async throws {
        let (redis, certificates) = (try RedisServer.start(), try TestCertificates())

        try await expectRefusal("rediss://127.0.0.1:\(redis.port)", certificates.authority)
    }

    @Test func `authorities that cannot be read are told at the start`() {
        #expect(throws: RedisTLSError.self) { _ = try RedisTLS(authorities: "/nowhere/ca.crt") }
    }

    // MARK: Help

    private func expectRefusal(
        _ url: String, _ authority: String, _ location: SourceLocation = #_sourceLocation
    ) async throws {
        let log = RecordedLog()
        var limits = RedisLimits.quick
        // One that does not encrypt waits for more, and says nothing.
        limits.heartbeat = .milliseconds(50)
        limits.silence = .milliseconds(500)
        let server = try server(url, authority: authority, log, limits: limits)
        try await withRunning([server]) { ears in
            server.subscribe(to: Self.room)

            try await eventually { log.lines(.debug).count > 5 }

            #expect(!server.isConnected, sourceLocation: location)
            #expect(ears[0].events.isEmpty, sourceLocation: location)
            #expect(log.lines(.warning).count == 2, "\(log.all)", sourceLocation: location)
        }
    }

    private func start(
        _ certificates: TestCertificates, names: [String], _ options: [String]
    ) throws -> (RedisServer, port: Int) {
        let (certificate, key) = try certificates.make(names)
        let port = try RedisServer.freePort()
        let redis = try RedisServer.start(
            [
                "--tls-port", "\(port)", "--tls-cert-file", certificate, "--tls-key-file", key,
                "--tls-ca-cert-file", certificates.authority, "--tls-auth-clients", "no",
            ] + options)
        return (redis, port)
    }

    private func server(
        _ url: String, authority: String, _ log: RecordedLog, limits: RedisLimits = .quick
    ) throws -> RedisPubSub {
        RedisPubSub(
            url: try RedisURL(url), tls: try RedisTLS(authorities: authority),
            prefix: "chat:test:", serverName: "test", limits: limits, logger: log.logger)
    }
}
