import NIOCore
import NIOPosix
import Testing

@testable import ChatClient

/// The client with real sockets, and a server that takes connections and says nothing.
@Suite(.timeLimit(.minutes(1))) struct ChatClientTests {
    @Test func `an attempt that is given up closes its connection`() async throws {
        try await withSilentServer { client, lines in
            let running = Task { await client.run() }
            for await line in lines.prefix(3) { try await line.closeFuture.get() }
            running.cancel()
            await running.value
        }
    }

    @Test func `leaving closes a connection that is on its way`() async throws {
        try await withSilentServer(patience: .seconds(600)) { client, lines in
            let running = Task { await client.run() }
            var lines = lines.makeAsyncIterator()
            let line = try #require(await lines.next())

            running.cancel()
            await running.value

            try await line.closeFuture.get()
        }
    }

    @Test func `nobody waits for a message once the client has ended`() async throws {
        try await withSilentServer(patience: .seconds(600)) { client, _ in
            let running = Task { await client.run() }
            let early = Task { try await client.deliver("early") }
            while client.view().pending.isEmpty { await Task.yield() }
            running.cancel()
            await running.value

            await #expect(throws: CancellationError.self) { try await early.value }
            await #expect(throws: SendError.ended) { try await client.deliver("late") }
            #expect(throws: SendError.ended) { try client.send("later") }
            #expect(client.view().pending.map(\.text) == ["early"])
        }
    }

    // MARK: Support

    private func withSilentServer(
        patience: Duration = .milliseconds(50),
        _ body: (ChatClient, AsyncStream<any Channel>) async throws -> Void
    ) async throws {
        let (lines, line) = AsyncStream<any Channel>.makeStream()
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                line.yield(channel)
                return channel.eventLoop.makeSucceededVoidFuture()
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        var configuration = ChatClient.Configuration(
            servers: ["http://127.0.0.1:\(port)"], room: "lobby", user: "ada")
        configuration.limits.connectPatience = patience
        try await body(ChatClient(configuration), lines)
        try await server.close()
    }
}
