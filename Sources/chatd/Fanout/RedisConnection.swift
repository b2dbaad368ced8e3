import NIOCore
import NIOPosix

/// What a connection to Redis is used for. All calls come from the connection's event loop.
protocol RedisConversation: Sendable {
    /// Redis has let us in; commands may be written to `channel` now.
    ///
    /// - Parameter slots: what the cluster looks like that it belongs to; nil when it is single.
    func begin(on channel: any Channel, slots: RedisSlots?)
    /// What is asked regularly, to see that Redis is alive.
    var question: RedisCommand { get }
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
    /// Nil: nothing is encrypted.
    let tls: RedisTLS?
    let limits: RedisLimits
    let eventLoop: any EventLoop

    /// Connects, lets `conversation` talk, and returns why that ended. Ends at once when the task
    /// is cancelled.
    ///
    /// - Parameter name: what Redis shows in `CLIENT LIST`.
    func serve(
        _ conversation: some RedisConversation, at address: RedisAddress, name: String
    ) async -> RedisError {
        let ended = eventLoop.makePromise(of: RedisError.self)
        let (url, tls, limits) = (url, tls, limits)
        let connecting = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(limits.connect))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: address.host, port: address.port)
        // Not in a channel initializer: that one runs for every address of the host.
        connecting.flatMapThrowing { channel in
            let connection = RedisConnection(
                conversation, greetings: RedisGreeting.all(url, name: name), address: address,
                limits: limits, ended: ended)
            if let tls {
                try channel.pipeline.syncOperations.addHandler(
                    try tls.handler(host: address.host))
            }
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
        case greeting(ArraySlice<RedisGreeting>)
        case serving
        case ended
    }

    private let conversation: any RedisConversation
    private let limits: RedisLimits
    private let ended: EventLoopPromise<RedisError>
    private let greetings: [RedisGreeting]
    private let address: RedisAddress
    private var slots: RedisSlots?
    private var phase = Phase.ended
    private var lastHeard = NIODeadline.now()
    private var heartbeat: RepeatedTask?

    init(
        _ conversation: any RedisConversation, greetings: [RedisGreeting], address: RedisAddress,
        limits: RedisLimits, ended: EventLoopPromise<RedisError>
    ) {
        self.conversation = conversation
        self.limits = limits
        self.ended = ended
        self.greetings = greetings
        self.address = address
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
        _ context: ChannelHandlerContext, _ reply: RedisReply,
        _ awaited: ArraySlice<RedisGreeting>
    ) {
        guard let greeting = awaited.first else { preconditionFailure("a greeting is awaited") }
        switch reply {
        case .status: break
        case .error(let answer) where greeting.isRequired:
            return end(context, .refused(command: greeting.name, answer: answer))
        case .error: break
        case .array where greeting.asksForSlots:
            slots = RedisSlots(reply, from: address)
        case .integer, .bulk, .null, .array:
            return end(context, .brokenProtocol("an unexpected answer to \(greeting.name)"))
        }
        guard awaited.count == 1 else {
            phase = .greeting(awaited.dropFirst())
            return
        }
        phase = .serving
        conversation.begin(on: context.channel, slots: slots)
    }

    private func beat(_ context: ChannelHandlerContext) {
        guard NIODeadline.now() - lastHeard <= TimeAmount(limits.silence) else {
            return end(context, .silent(limits.silence))
        }
        guard case .serving = phase else { return }
        var buffer = context.channel.allocator.buffer(capacity: 16)
        conversation.question.write(to: &buffer)
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
