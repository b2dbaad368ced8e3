import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import ShardRouter
import TestKit
import Testing

@testable import chatd

/// Who may read and write over HTTP, on a server with tokens.
@Suite(.timeLimit(.minutes(1))) struct HTTPRightsTests {
    private func run(
        _ body: (
            ChatResponder, _ token: (String) throws -> String, TestChat
        ) async throws -> Void
    ) async throws {
        let signer = try await TestSigner.make(.es256)
        let keys = try TokenKeys([signer.key])
        let authenticator = TokenAuthenticator { TokenVerifier(keys: keys) }
        try await TestChat.run(authenticator: authenticator) { chat in
            let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
            let responder = ChatResponder(
                chat: chat.server,
                readiness: Readiness(
                    store: chat.store, pubSub: chat.pubSub, limits: TransportLimits()),
                origins: OriginRule(), limits: ChatLimits(), files: WebFiles(),
                registry: PrometheusRegistry(logger: logger))
            let token = { (rights: String) in
                try signer.token(
                    TestSigner.claims(at: chat.clock.time, rooms: "{\"lobby\":[\(rights)]}"))
            }
            try await body(responder, token, chat)
        }
    }

    private func request(
        _ method: HTTPRequest.Method, token: String?, query: String = ""
    ) -> Request {
        var headers: HTTPFields = [:]
        if let token { headers[.authorization] = "Bearer \(token)" }
        return Request(
            head: HTTPRequest(
                method: method, scheme: nil, authority: "chat.example",
                path: "/v1/rooms/lobby/messages?user=eve\(query)", headerFields: headers),
            body: .init(buffer: ByteBuffer(string: Sent.message(1))))
    }

    @Test func `without a good token the answer is 401`() async throws {
        try await run { responder, token, _ in
            for method in [HTTPRequest.Method.get, .head, .post] {
                let missing = await responder.observed(request(method, token: nil))
                #expect(missing.status == .unauthorized)
                #expect(missing.headers[.wwwAuthenticate] == "Bearer realm=\"chat\"")

                let bad = await responder.observed(request(method, token: "a.b.c"))
                #expect(bad.status == .unauthorized)
                #expect(bad.headers[.wwwAuthenticate]?.contains("invalid_token") == true)
            }
        }
    }

    @Test(arguments: [
        ("\"read\"", 200, 403), ("\"write\"", 403, 201), ("\"read\",\"write\"", 200, 201),
        ("\"moderate\"", 403, 403), ("", 403, 403),
    ])
    func `rights decide about reading and writing`(
        rights: String, reading: Int, writing: Int
    ) async throws {
        try await run { responder, token, _ in
            let token = try token(rights)

            #expect(await responder.observed(request(.get, token: token)).status.code == reading)
            #expect(await responder.observed(request(.post, token: token)).status.code == writing)
        }
    }

    @Test func `sanctions are read only for who asks for a page that he can get`() async throws {
        try await run { responder, token, chat in
            let token = try token("\"read\"")
            let bad = request(.get, token: token, query: "&limit=0")
            #expect(await responder.observed(bad).status == .badRequest)
            #expect(chat.store.sanctionReads.isEmpty)

            var pages = 0
            while pages < 1_000 {
                chat.server.environment.sanctionBook.forget(.lobby)
                let status = await responder.observed(request(.get, token: token)).status
                guard status == .ok else {
                    #expect(status == .tooManyRequests)
                    break
                }
                pages += 1
            }
            #expect(pages > 0 && pages < 1_000)
            #expect(chat.store.sanctionReads.count == pages)
        }
    }

    @Test func `everything else needs no token`() async throws {
        try await run { responder, _, _ in
            for path in ["/healthz", "/readyz", "/metrics", "/"] {
                let request = Request(
                    head: HTTPRequest(
                        method: .get, scheme: nil, authority: "chat.example", path: path),
                    body: .init(buffer: ByteBuffer()))
                #expect(await responder.observed(request).status == .ok)
            }
        }
    }
}
