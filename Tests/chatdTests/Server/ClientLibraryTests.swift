import ChatClient
import FoundationEssentials
import Logging
import ServiceLifecycle
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// The client library and the server, with a real socket between them.
@Suite struct ClientLibraryTests {
    @Test func `what one client delivers the other shows`() async throws {
        try await Door.open(MemoryMessageStore()) { port in
            let (ada, bo) = (try client("ada", port), try client("bo", port))
            try await running([ada, bo]) {
                let first = try await ada.deliver("hello \"bo\" \\ \n 😀")
                let second = try await bo.deliver("hello ada")
                for client in [ada, bo] { await until(client, has: 2) }

                #expect((first, second) == (1, 2))
                #expect(ada.view().messages == bo.view().messages)
                #expect(ada.view().messages.map(\.text) == ["hello \"bo\" \\ \n 😀", "hello ada"])
                #expect(ada.view().messages.map(\.from) == ["ada", "bo"])
                #expect(ada.view().pending.isEmpty)
            }
        }
    }

    @Test func `what is written while the server is away is stored in order when it is back`()
        async throws
    {
        let store = MemoryMessageStore()
        var port = 0
        var clients: [ChatClient] = []

        try await Door.open(store) { taken in
            port = taken
            clients = [try client("ada", port), try client("bo", port)]
        }
        let texts = (1...20).map { "text \($0)" }
        for text in texts { try clients[0].send(text) }
        try await running(clients) {
            try await Door.open(store, port: port) { _ in
                for client in clients { await until(client, has: 20) }
                #expect(clients[1].view().messages.map(\.text) == texts)
            }
            // Both are away now, and come back to a third server.
            try clients[1].send("text 21")
            try await Door.open(store, port: port) { _ in
                for client in clients { await until(client, has: 21) }
                #expect(clients[0].view().messages.map(\.text) == texts + ["text 21"])
                #expect(clients.allSatisfy { $0.view().pending.isEmpty })
            }
        }
    }

    @Test func `a certificate is trusted only when it was told to be`() async throws {
        let authority = try TestCertificates()
        let files = try authority.make(["DNS:localhost"])
        let certificates = try TLSCertificates(
            files: TLSFiles(certificate: files.certificate, key: files.key),
            interval: .seconds(60), logger: Door.quiet)

        try await Door.open(MemoryMessageStore(), certificates: certificates) { port in
            let server = "https://localhost:\(port)"
            let trusting = try client("ada", server, trusting: authority.authority)
            let strange = try client("eve", server, trusting: nil)
            try await running([trusting, strange]) {
                let seq = try await trusting.deliver("hello")
                for await event in strange.events {
                    #expect(event != .connected(server: "chatd-test"))
                    if case .disconnected = event { break }
                }

                #expect(seq == 1)
                #expect(strange.view().messages.isEmpty)
            }
        }
    }

    @Test func `whoever waits for a message is told that it was refused`() async throws {
        try await Door.open(MemoryMessageStore()) { port in
            let ada = try client("ada", port)
            try await running([ada]) {
                _ = try await ada.deliver("hello")
                let error = await #expect(throws: SendError.self) {
                    _ = try await ada.deliver(String(repeating: "x", count: 20_000))
                }

                #expect(error == .tooLong(bytes: 16_384))
            }
        }
    }

    // MARK: Support

    private func client(_ user: String, _ port: Int) throws -> ChatClient {
        try client(user, "http://127.0.0.1:\(port)", trusting: nil)
    }

    private func client(
        _ user: String, _ server: String, trusting path: String?
    ) throws -> ChatClient {
        var configuration = ChatClient.Configuration(
            servers: [server], room: "lobby", user: user)
        configuration.certificateAuthority = path
        return try ChatClient(configuration)
    }

    private func running(_ clients: [ChatClient], _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup { group in
            for client in clients { group.addTask { await client.run() } }
            defer { group.cancelAll() }
            try await body()
        }
    }

    /// Returns when a client has so many messages and waits for none of its own.
    private func until(_ client: ChatClient, has count: Int) async {
        func isThere() -> Bool {
            let view = client.view()
            return view.messages.count >= count && view.pending.isEmpty
        }
        guard !isThere() else { return }
        for await _ in client.events where isThere() { return }
    }
}

/// A server of this process with a real door.
private enum Door {
    static let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    /// - Parameter port: 0: any that is free.
    static func open(
        _ store: MemoryMessageStore, port: Int = 0, certificates: TLSCertificates? = nil,
        _ body: (_ port: Int) async throws -> Void
    ) async throws {
        let pubSub = PubSubHub().link()
        let chat = ChatServer(
            store: store, pubSub: pubSub, serverName: "chatd-test", logger: quiet)
        let (ports, listening) = AsyncStream<Int>.makeStream()
        let transport = ChatTransport(
            ChatTransport.Contents(
                chat: chat, store: store, pubSub: pubSub, certificates: certificates,
                registry: PrometheusRegistry(logger: quiet)),
            bind: HostAndPort(host: "127.0.0.1", port: port), connections: 100, logger: quiet
        ) { listening.yield($0) }
        try await withThrowingTaskGroup { group in
            group.addTask { try await chat.run() }
            group.addTask { try await transport.listener.run() }
            for await port in ports {
                try await body(port)
                break
            }
            chat.stop()
            group.cancelAll()
            // What ends a cancelled server does not matter here.
            while let result = await group.nextResult() { _ = result }
        }
    }
}
