import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Listens for operators, on a loopback address of its own.
struct AdminListener: Service {
    let bind: HostAndPort
    let responder: AdminResponder
    let logger: Logger

    func run() async throws {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .notice)
        let server = try HTTPServerBuilder.http1().buildServer(
            configuration: HummingbirdCore.ServerConfiguration(
                address: .hostname(bind.host, port: bind.port ?? 0)),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: quiet,
            responder: { [responder] request, writer, _ in
                let response = await responder.response(to: request)
                try await writer.write(response: response.head, body: response.body)
            },
            onServerRunning: { [bind, logger] channel in
                var address = bind
                address.port = channel.localAddress?.port ?? bind.port
                logger.info("operators may look inside", metadata: ["address": "\(address)"])
            })
        do {
            try await server.run()
        } catch let error as IOError {
            throw ProgramError(
                description: "the admin listener cannot listen on \(bind): \(error)")
        }
    }
}
