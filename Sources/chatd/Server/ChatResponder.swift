import HTTPTypes
import HummingbirdCore
import NIOCore
import Postgres
import ShardRouter

/// Answers the HTTP requests of the chat.
struct ChatResponder: Sendable {
    let chat: ChatServer
    let readiness: Readiness
    let origins: OriginRule
    let limits: ChatLimits
    let files: WebFiles
    let registry: PrometheusRegistry
    var reading = ReadingRates()
    var proxies = TrustedProxies()

    /// The whole answer to one request; a `HEAD` gets that of a `GET` without the body.
    @concurrent func respond(
        to request: Request, _ writer: consuming ResponseWriter, _ channel: any Channel
    ) async throws {
        if request.method == .post, request.headers[.expect]?.lowercased() == "100-continue" {
            try await writer.writeInformationalHead(HTTPResponse(status: .continue))
        }
        var response = await observed(request, from: NetworkAddress(channel.remoteAddress))
        response.headers.append(contentsOf: Self.commonHeaders)
        response.headers[.date] = HTTPDate.text(of: .now)
        // Who keeps a connection to a server that is about to stop would lose a request with it.
        if chat.isDraining || request.headers[.connection]?.lowercased() == "close" {
            response.headers[.connection] = "close"
        }
        // Without its body the answer keeps the body's length.
        try await writer.write(
            response: response.head, body: request.method == .head ? .init() : response.body)
    }

    /// The answer before what all answers have; metrics and traces are told about it.
    ///
    /// - Parameter peer: who has made the connection, as far as it is known.
    func observed(_ request: Request, from peer: NetworkAddress? = nil) async -> Response {
        let start = ContinuousClock.now
        let target = RequestTarget(request.head.path ?? "")
        let route = target.map { Route($0.segments) }
        let label = RouteLabel(route)
        let span = chat.tracing.start(request.head, route: label)
        var response = await within(span) {
            do throws(HTTPRefusal) {
                guard let target, let route else { throw .badTarget }
                return try await answer(request, target, route, peer)
            } catch {
                return Response(error)
            }
        }
        if route?.isOfRoom ?? false {
            response.headers.append(contentsOf: CrossOrigin(rule: origins).headers(for: request))
        }
        span?.ended(response.status)
        chat.metrics.answered(label, response.status, after: ContinuousClock.now - start)
        return response
    }

    private func answer(
        _ request: Request, _ target: RequestTarget, _ route: Route, _ peer: NetworkAddress?
    ) async throws(HTTPRefusal) -> Response {
        switch route {
        case .socket(let room):
            try allow([.get], request)
            throw explainSocket(room, target, request)
        case .roomsSocket:
            try allow([.get], request)
            throw explainSocket(nil, target, request)
        case .messages(let room):
            let methods: [HTTPRequest.Method] = [.get, .head, .post]
            if let answer = try crossOrigin(request, methods) { return answer }
            try allow(methods, request)
            return request.method == .post
                ? try await post(room, target, request)
                : try await history(room, target, request, peer)
        case .moderation(let room):
            if let answer = try crossOrigin(request, [.post]) { return answer }
            try allow([.post], request)
            return try await moderate(room, target, request)
        case .health:
            try allow([.get, .head], request)
            return Response(
                status: .ok,
                headers: [.contentType: "text/plain; charset=utf-8", .cacheControl: "no-store"],
                body: .init(byteBuffer: ByteBuffer(string: "ok\n")))
        case .readiness:
            try allow([.get, .head], request)
            let report = await readiness.report()
            return .json(report.encoded(), report.isReady ? .ok : .serviceUnavailable)
        case .metrics:
            try allow([.get, .head], request)
            return Response(
                status: .ok,
                headers: [.contentType: PrometheusText.contentType, .cacheControl: "no-store"],
                body: .init(byteBuffer: ByteBuffer(string: registry.text())))
        case .file(let name):
            guard files[name] != nil else { throw .notFound }
            try allow([.get, .head], request)
            guard
                let answer = files.answer(name, ifNoneMatch: request.headers[values: .ifNoneMatch])
            else { throw .notFound }
            return answer
        case .unknown:
            throw .notFound
        }
    }

    /// The answer to a browser that asks what a page of another origin may do.
    private func crossOrigin(
        _ request: Request, _ methods: [HTTPRequest.Method]
    ) throws(HTTPRefusal) -> Response? {
        let rule = CrossOrigin(rule: origins)
        return rule.isQuestion(request) ? try rule.answer(request, allowing: methods) : nil
    }

    private func allow(
        _ methods: [HTTPRequest.Method], _ request: Request
    ) throws(HTTPRefusal) {
        guard methods.contains(request.method) else { throw .notAllowed(methods) }
    }

    func room(_ name: String) throws(HTTPRefusal) -> RoomID {
        do throws(FrameError) {
            return try RoomName.parse(name)
        } catch {
            throw HTTPRefusal(error)
        }
    }

    func hosts(_ request: Request) -> [String] {
        request.head.authority.map { [$0] } ?? []
    }

    /// Why a request for a socket came to be answered here.
    private func explainSocket(
        _ room: String?, _ target: RequestTarget, _ request: Request
    ) -> HTTPRefusal {
        do throws(HTTPRefusal) {
            _ = try SocketRequest(
                room: room, target: target, origins: origins, hosts: hosts(request)
            ) { request.headers[values: $0] }
        } catch {
            return error
        }
        var refusal = HTTPRefusal(
            .upgradeRequired, code: "upgradeRequired",
            "a connection can become a WebSocket by its first request only")
        refusal.headers[.upgrade] = "websocket"
        return refusal
    }

    // MARK: Messages

    private func history(
        _ name: String, _ target: RequestTarget, _ request: Request, _ peer: NetworkAddress?
    ) async throws(HTTPRefusal) -> Response {
        let pages = request.headers[values: .origin]
        guard origins.allows(origins: pages, hosts: hosts(request)) else { throw .foreignOrigin }
        guard !pages.isEmpty || origins.allowsReading(hosts: hosts(request))
        else { throw .foreignHost }
        let room = try room(name)
        let user = try reader(target, request, of: room)
        let address = peer.map {
            proxies.client(
                peer: $0, forwarded: request.headers[values: HTTPField.Name("X-Forwarded-For")!])
        }
        let request = try historyRequest(target)
        if let wait = reading.page(for: user, from: address, at: chat.now) {
            throw HTTPRefusal(tooManyPages: wait)
        }
        // Behind what costs nothing: this may read the shard.
        if let user { try await checkBar(of: user, in: room) }
        do throws(ReadError) {
            let page = try await chat.history(of: room, request)
            return .json(
                ServerFrame.historyBody(
                    page, keepingNewest: request.keepsNewest, receipts: chat.receipts,
                    limits: limits))
        } catch {
            throw HTTPRefusal(error)
        }
    }

    private func historyRequest(_ target: RequestTarget) throws(HTTPRefusal) -> HistoryRequest {
        do throws(FrameError) {
            let before = try Self.number("before", 0...Int64.max, target)
            let after = try Self.number("after", 0...Int64.max, target)
            guard before == nil || after == nil else {
                throw FrameError(.badFrame, field: "after", "cannot be given together with before")
            }
            let limit = try Self.number("limit", 1...Int64(limits.historyMessages), target)
            return try HistoryRequest(before: before, after: after, limit: limit, limits: limits)
        } catch {
            throw HTTPRefusal(error)
        }
    }

    private static func number(
        _ name: String, _ range: ClosedRange<Int64>, _ target: RequestTarget
    ) throws(FrameError) -> Int64? {
        guard let text = target[name] else { return nil }
        let isDigits = text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isDigits, let number = Int64(text), range.contains(number) else {
            let bounds =
                range.upperBound == .max
                ? "\(range.lowerBound) or more" : "\(range.lowerBound) to \(range.upperBound)"
            throw FrameError(.badFrame, field: name, "must be a whole number, \(bounds)")
        }
        return number
    }

    private func post(
        _ name: String, _ target: RequestTarget, _ request: Request
    ) async throws(HTTPRefusal) -> Response {
        guard origins.allows(origins: request.headers[values: .origin], hosts: hosts(request))
        else { throw .foreignOrigin }
        let room = try room(name)
        let user = try author(target, request, in: room, needing: .write)
        let message: ClientMessage
        do throws(FrameError) {
            message = try ClientMessage.decode(try await body(request), limits: limits)
        } catch {
            throw HTTPRefusal(error)
        }
        if let wait = chat.allowance(of: user, in: room) {
            throw HTTPRefusal(tooManyMessages: message.id, retryAfter: wait)
        }
        try await checkSanctions(of: user, in: room, id: message.id)
        do throws(WriteError) {
            switch try await chat.post(message, to: room, from: user) {
            case .stored(let receipt):
                let proof = await chat.proof(of: message, in: room, from: user, receipt)
                return .json(
                    ServerFrame.ack(id: message.id, seq: receipt.seq, receipt: proof),
                    receipt.isDuplicate ? .ok : .created)
            case .queued:
                return .json(ServerFrame.ackQueued(id: message.id), .accepted)
            }
        } catch {
            throw HTTPRefusal(error, id: message.id)
        }
    }

    private func credentials(_ target: RequestTarget, _ request: Request) -> Credentials {
        Credentials(target) { request.headers[values: $0] }
    }

    /// Who reads; nil when he has not said it, and need not.
    private func reader(
        _ target: RequestTarget, _ request: Request, of room: RoomID
    ) throws(HTTPRefusal) -> String? {
        let guest: Guest
        do throws(AuthenticationError) {
            guest = try chat.guest(with: credentials(target, request), in: room)
        } catch {
            throw HTTPRefusal(error)
        }
        guard guest.rights.contains(.read) else { throw .noRightToRead }
        return guest.user
    }

    func author(
        _ target: RequestTarget, _ request: Request, in room: RoomID, needing right: Rights
    ) throws(HTTPRefusal) -> String {
        let identity: Identity
        do throws(AuthenticationError) {
            identity = try chat.identity(of: credentials(target, request))
        } catch {
            throw HTTPRefusal(error)
        }
        guard identity.rights(in: room).contains(right) else {
            throw right == .moderate ? .noRightToModerate : .noRightToWrite
        }
        return identity.user
    }

    func body(_ request: Request) async throws(FrameError) -> ByteBuffer {
        do {
            return try await request.body.collect(upTo: limits.frameBytes)
        } catch is NIOTooManyBytesError {
            throw FrameError(.tooLong, "the body is longer than \(limits.frameBytes) bytes")
        } catch {
            throw FrameError(.badFrame, "the body did not arrive whole")
        }
    }
}

// MARK: - Answers

extension ChatResponder {
    /// Pages get nothing but what this server sends them, and nobody may frame them.
    private static let commonHeaders: HTTPFields = [
        .contentSecurityPolicy:
            "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; "
            + "form-action 'self'; frame-ancestors 'none'",
        .xContentTypeOptions: "nosniff",
        HTTPField.Name("Referrer-Policy")!: "no-referrer",
        .server: "chatd",
    ]
}

extension Response {
    /// An answer to a program, which is true only now.
    static func json(_ body: ByteBuffer, _ status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: .init(byteBuffer: body))
    }

    init(_ refusal: HTTPRefusal) {
        self = .json(refusal.body, refusal.status)
        headers.append(contentsOf: refusal.headers)
    }
}
