import NIOCore
import NIOPosix

/// What a connection to Redis is used for. All calls come from the connection's event loop.
protocol RedisConversation: Sendable {
    /// Redis has let us in; commands may be written to `channel` now.
    func begin(on channel: any Channel)
    /// Something that is not an answer to the connection's own greeting and PINGs.
    ///
    /// - Throws: when the connection is of no use any more.
    func hear(_ reply: RedisReply) throws(RedisError)
    /// The socket takes more bytes again.
    func resume()
    /// The connection is gone. Comes once for each ``begin(on:)``.
    func end()
}

/// Makes connections to one Redis.
struct RedisConnector: Sendable {
    let url: RedisURL
    let limits: RedisLimits
    let eventLoop: any EventLoop

    /// Connects, lets `conversation` talk, and returns why that ended. Ends at once when the task
    /// is cancelled.
    ///
    /// - Parameter name: what Redis shows in `CLIENT LIST`.
    func serve(_ conversation: some RedisConversation, name: String) async -> RedisError {
        let ended = eventLoop.makePromise(of: RedisError.self)
        let (url, limits) = (url, limits)
        let connecting = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(limits.connect))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: url.host, port: url.port)
        // Not in a channel initializer: that one runs for every address of the host.
        connecting.flatMapThrowing { channel in
            let connection = RedisConnection(
                conversation, url: url, name: name, limits: limits, ended: ended)
            try channel.pipeline.syncOperations.addHandlers([
                RedisReplyDecoder(replyBytes: limits.replyBytes), connection,
            ])
        }.whenFailure { ended.succeed(.unreachable(reason: "\($0)")) }
        // The first reason stays; later ones are ignored by the promise.
        ended.futureResult.whenComplete { _ in
            connecting.whenSuccess { $0.close(promise: nil) }
        }
        do {
            return try await withTaskCancellationHandler {
                try await ended.futureResult.get()
            } onCancel: {
                // After what the loop was given before, so that last words are still written.
                eventLoop.execute { ended.succeed(.stopped) }
            }
        } catch {
            preconditionFailure("a promise that only succeeds has failed: \(error)")
        }
    }
}

/// One connection: greets Redis, keeps asking whether it is alive, and passes on what it says.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = RedisReply
    typealias OutboundOut = ByteBuffer

    private enum Phase {
        /// Answers to these are still to come.
        case greeting(ArraySlice<Greeting>)
        case serving
        case ended
    }

    /// A command that opens the conversation.
    private struct Greeting {
        var name: String
        var command: RedisCommand
        /// Whether nothing goes without it.
        var isRequired: Bool
    }

    private let conversation: any RedisConversation
    private let limits: RedisLimits
    private let ended: EventLoopPromise<RedisError>
    private let greetings: [Greeting]
    private var phase = Phase.ended
    private var lastHeard = NIODeadline.now()
    private var heartbeat: RepeatedTask?

    init(
        _ conversation: any RedisConversation, url: RedisURL, name: String, limits: RedisLimits,
        ended: EventLoopPromise<RedisError>
    ) {
        self.conversation = conversation
        self.limits = limits
        self.ended = ended
        greetings = RedisConnection.greetings(url, name: name)
    }

    private static func greetings(_ url: RedisURL, name: String) -> [Greeting] {
        var greetings: [Greeting] = []
        if let credentials = url.credentials {
            let words = [credentials.user, credentials.password].compactMap { $0 }
            greetings.append(
                Greeting(
                    name: "AUTH", command: RedisCommand("AUTH", words.map { Array($0.utf8) }),
                    isRequired: true))
        }
        if url.database != 0 {
            greetings.append(
                Greeting(
                    name: "SELECT", command: RedisCommand("SELECT", "\(url.database)"),
                    isRequired: true))
        }
        greetings.append(
            Greeting(
                name: "CLIENT SETNAME", command: RedisCommand("CLIENT", "SETNAME", name),
                isRequired: false))
        // Says whether Redis lets us in at all, and is not busy loading its data.
        greetings.append(Greeting(name: "PING", command: RedisCommand("PING"), isRequired: true))
        return greetings
    }

    func handlerAdded(context: ChannelHandlerContext) {
        guard context.channel.isActive else { return end(context, .closed) }
        phase = .greeting(greetings[...])
        lastHeard = .now()
        var buffer = context.channel.allocator.buffer(capacity: 256)
        for greeting in greetings { greeting.command.write(to: &buffer) }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        let bound = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
        let pause = TimeAmount(limits.heartbeat)
        heartbeat = context.eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { _ in
            bound.value.handler.beat(bound.value.context)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastHeard = .now()
        let reply = unwrapInboundIn(data)
        switch phase {
        case .greeting(let awaited): greeted(context, reply, awaited)
        case .serving:
            do throws(RedisError) {
                try conversation.hear(reply)
            } catch {
                end(context, error)
            }
        case .ended: break
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        guard case .serving = phase, context.channel.isWritable else { return }
        conversation.resume()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(context, error as? RedisError ?? .unreachable(reason: "\(error)"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(context, .closed)
    }

    private func greeted(
        _ context: ChannelHandlerContext, _ reply: RedisReply, _ awaited: ArraySlice<Greeting>
    ) {
        guard let greeting = awaited.first else { preconditionFailure("a greeting is awaited") }
        switch reply {
        case .status: break
        case .error(let answer) where greeting.isRequired:
            return end(context, .refused(command: greeting.name, answer: answer))
        case .error: break
        case .integer, .bulk, .null, .array:
            return end(context, .brokenProtocol("an unexpected answer to \(greeting.name)"))
        }
        guard awaited.count == 1 else {
            phase = .greeting(awaited.dropFirst())
            return
        }
        phase = .serving
        conversation.begin(on: context.channel)
    }

    private func beat(_ context: ChannelHandlerContext) {
        guard NIODeadline.now() - lastHeard <= TimeAmount(limits.silence) else {
            return end(context, .silent(limits.silence))
        }
        guard case .serving = phase else { return }
        var buffer = context.channel.allocator.buffer(capacity: 16)
        RedisCommand("PING").write(to: &buffer)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    private func end(_ context: ChannelHandlerContext, _ reason: RedisError) {
        heartbeat?.cancel()
        heartbeat = nil
        switch phase {
        case .serving:
            phase = .ended
            conversation.end()
        case .greeting, .ended: phase = .ended
        }
        // Before the close, which would give its own reason.
        ended.succeed(reason)
        context.close(promise: nil)
    }
}
