import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import ShardRouter
import Testing

@testable import chatd

/// What browsers are told about pages of other origins.
@Suite(.timeLimit(.minutes(1))) struct CrossOriginTests {
    private let listed = "https://app.example"

    private func ask(
        _ method: HTTPRequest.Method, _ path: String, origin: String?, wants: String? = nil,
        isListed: Bool = true
    ) async throws -> Response {
        let page = try #require(OriginRule.Origin(listed))
        var answer: Response?
        try await TestChat.run { chat in
            let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
            let responder = ChatResponder(
                chat: chat.server,
                readiness: Readiness(
                    store: chat.store, pubSub: chat.pubSub, limits: TransportLimits()),
                origins: OriginRule(allowed: isListed ? [page] : []), limits: ChatLimits(),
                files: WebFiles(), registry: PrometheusRegistry(logger: logger))
            var headers: HTTPFields = [:]
            headers[.origin] = origin
            headers[.accessControlRequestMethod] = wants
            answer = await responder.observed(
                Request(
                    head: HTTPRequest(
                        method: method, scheme: nil, authority: "chat.example", path: path,
                        headerFields: headers),
                    body: .init(buffer: ByteBuffer())))
        }
        return try #require(answer)
    }

    @Test(arguments: [("messages", "GET, HEAD, POST"), ("moderation", "POST")])
    func `a listed page is told what it may do`(path: String, methods: String) async throws {
        let answer = try await ask(
            .options, "/v1/rooms/lobby/\(path)", origin: listed, wants: "POST")

        #expect(answer.status == .noContent)
        #expect(answer.headers[.accessControlAllowOrigin] == listed)
        #expect(answer.headers[.accessControlAllowMethods] == methods)
        #expect(answer.headers[.accessControlAllowHeaders] == "Authorization, Content-Type")
        #expect(answer.headers[.vary] == "Origin")
    }

    @Test(arguments: ["https://other.example", "https://app.example:8443", "null"])
    func `another page is told that it may nothing`(origin: String) async throws {
        let answer = try await ask(
            .options, "/v1/rooms/lobby/messages", origin: origin, wants: "POST")

        #expect(answer.status == .forbidden)
        #expect(answer.headers[.accessControlAllowOrigin] == nil)
        #expect(answer.headers[.vary] == "Origin")
    }

    @Test(arguments: [HTTPRequest.Method.get, .head])
    func `another page does not read`(method: HTTPRequest.Method) async throws {
        for origin in ["https://other.example", "null"] {
            let answer = try await ask(method, "/v1/rooms/lobby/messages", origin: origin)
            #expect(answer.status == .forbidden)
            #expect(answer.headers[.accessControlAllowOrigin] == nil)
        }
        let own = try await ask(method, "/v1/rooms/lobby/messages", origin: "http://chat.example")
        #expect(own.status == .ok)
    }

    @Test func `a listed page may read an answer, and why there is none`() async throws {
        for (path, status) in [("messages?user=ada", 200), ("messages?limit=x", 400)] {
            let answer = try await ask(.get, "/v1/rooms/lobby/\(path)", origin: listed)
            #expect(answer.status.code == status)
            #expect(answer.headers[.accessControlAllowOrigin] == listed)
        }
    }

    @Test func `nobody else is told anything`() async throws {
        let program = try await ask(.get, "/v1/rooms/lobby/messages", origin: nil)
        #expect(program.headers[.accessControlAllowOrigin] == nil)
        let health = try await ask(.get, "/healthz", origin: listed)
        #expect(health.headers[.accessControlAllowOrigin] == nil)
        let unlisted = try await ask(
            .get, "/v1/rooms/lobby/messages", origin: listed, isListed: false)
        #expect(unlisted.headers[.accessControlAllowOrigin] == nil)
        #expect(unlisted.headers[.vary] == nil)
        #expect(unlisted.status == .forbidden)
        let plain = try await ask(.options, "/v1/rooms/lobby/messages", origin: listed)
        #expect(plain.status == .methodNotAllowed)
    }
}
