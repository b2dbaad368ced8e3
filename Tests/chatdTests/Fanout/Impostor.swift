import NIOCore
import NIOPosix
import Synchronization

/// A server that answers everything with the same bytes.
final class Impostor: Sendable {
    let port: Int
    private let count: Mutex<Int>

    fileprivate init(port: Int, count: Int = 0) {
        self.port = port
        self.count = Mutex(count)
    }

    /// How often it was called.
    var connections: Int { count.withLock { $0 } }

    fileprivate func called() { count.withLock { $0 += 1 } }
}

/// Runs an impostor for as long as `body` takes. With an empty `answer` it hangs up on callers.
func withImpostor(
    _ answer: String, _ body: (Impostor) async throws -> Void
) async throws {
    let calls = Mutex<Impostor?>(nil)
    let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .childChannelInitializer { channel in
            calls.withLock { $0 }?.called()
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ImpostorHandler(answer))
            }
        }
        .bind(host: "127.0.0.1", port: 0).get()
    guard let port = server.localAddress?.port else { preconditionFailure("a bound port") }
    let impostor = Impostor(port: port)
    calls.withLock { $0 = impostor }
    do {
        try await body(impostor)
    } catch {
        try await server.close()
        throw error
    }
    try await server.close()
}

private final class ImpostorHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let answer: String

    init(_ answer: String) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !answer.isEmpty else { return context.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
    }
}
