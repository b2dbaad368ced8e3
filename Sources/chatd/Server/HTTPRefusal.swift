import FoundationEssentials
import HTTPTypes
import NIOCore
import NIOHTTP1
import ShardRouter

/// Why a request is not done, as its sender is told: a status, and a body in JSON like the `error`
/// frame of a socket.
struct HTTPRefusal: Error {
    var status: HTTPResponse.Status
    var body: ByteBuffer
    var headers = HTTPFields()

    /// - Parameter code: for programs.
    init(_ status: HTTPResponse.Status, code: String, _ message: String) {
        self.status = status
        var json = JSONWriter(capacity: 192)
        json.raw("{\"type\":\"error\",\"code\":")
        json.string(code)
        json.raw(",\"message\":")
        json.string(message)
        json.raw(",\"temporary\":")
        json.boolean(status.kind == .serverError)
        json.raw("}")
        body = json.buffer
    }

    /// Input that does not fit.
    init(_ error: FrameError) {
        status =
            switch error.code {
            case .tooLong: .contentTooLarge
            case .forbidden: .forbidden
            case .idConflict: .conflict
            case .rateLimited: .tooManyRequests
            case .overloaded, .unavailable: .serviceUnavailable
            case .badFrame, .badMessage, .badRoom, .unknownType: .badRequest
            }
        body = ServerFrame.error(error)
    }

    /// Somebody who is not believed to be who he says.
    init(_ error: AuthenticationError) {
        switch error {
        case .name(let error):
            self.init(error)
        case .token(let error):
            self.init(.unauthorized, code: "unauthorized", "token: \(error.reason)")
            // RFC 6750, 3: who sent no token is told no error.
            headers[.wwwAuthenticate] =
                error == .missing
                ? "Bearer realm=\"chat\"" : "Bearer realm=\"chat\", error=\"invalid_token\""
        }
    }

    /// A message that was not stored, or may not have been.
    init(_ error: WriteError, id: UUID) {
        body = ServerFrame.error(error, id: id)
        switch error {
        case .conflict:
            status = .conflict
        case .refused:
            status = .badRequest
        case .overloaded(shard: _, let retryAfter):
            status = .serviceUnavailable
            comeBack(after: retryAfter)
        case .unavailable, .unknownOutcome, .stopped:
            status = .serviceUnavailable
            comeBack(after: .seconds(1))
        }
    }

    /// A page of history that cannot be read.
    init(_ error: ReadError) {
        body = ServerFrame.error(error)
        switch error {
        case .unavailable, .stopped:
            status = .serviceUnavailable
            comeBack(after: .seconds(1))
        case .refused:
            status = .internalServerError
        }
    }

    /// A user who posts too often.
    init(tooManyMessages id: UUID, retryAfter: Duration) {
        status = .tooManyRequests
        body = ServerFrame.error(
            .rateLimited, "too many messages; nothing was stored", id: id, retryAfter: retryAfter,
            isTemporary: true)
        comeBack(after: retryAfter)
    }

    /// Somebody who reads too many pages of history.
    init(tooManyPages retryAfter: Duration) {
        status = .tooManyRequests
        body = ServerFrame.error(
            .rateLimited, "too many pages; nothing was read", retryAfter: retryAfter,
            isTemporary: true)
        comeBack(after: retryAfter)
    }

    /// An address that has, or opens, too many sockets.
    init(tooManySockets retryAfter: Duration) {
        status = .tooManyRequests
        body = ServerFrame.error(
            .rateLimited, "too many sockets of this address", retryAfter: retryAfter,
            isTemporary: true)
        comeBack(after: retryAfter)
    }

    /// HTTP counts whole seconds; at least one, or programs would not wait at all.
    mutating func comeBack(after duration: Duration) {
        let (seconds, attoseconds) = duration.components
        headers[.retryAfter] = String(max(1, seconds + (attoseconds > 0 ? 1 : 0)))
    }
}

extension HTTPRefusal {
    /// The answer as NIO's own parts, for where Hummingbird does not serve; the connection ends
    /// with it.
    var parts: [HTTPServerResponsePart] {
        var fields: NIOHTTP1.HTTPHeaders = [
            "Connection": "close", "Content-Type": "application/json",
            "Content-Length": String(body.readableBytes),
        ]
        for field in headers { fields.add(name: field.name.rawName, value: field.value) }
        let head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: status.code), headers: fields)
        return [.head(head), .body(.byteBuffer(body)), .end(nil)]
    }

    static let draining = {
        var refusal = HTTPRefusal(
            .serviceUnavailable, code: "draining",
            "this server is about to stop; come to another one")
        refusal.comeBack(after: .seconds(1))
        return refusal
    }()

    static let notFound = HTTPRefusal(.notFound, code: "notFound", "there is nothing here")

    static let badTarget = HTTPRefusal(
        .badRequest, code: "badRequest", "the address is not a path with valid escapes")

    static let foreignOrigin = HTTPRefusal(
        .forbidden, code: "forbidden",
        "pages of this origin may not talk to this server (CHATD_ALLOWED_ORIGINS lists those that may)"
    )

    static let foreignHost = HTTPRefusal(
        .forbidden, code: "forbidden",
        "Host: must be a loopback address or localhost where identity is open "
            + "(unless CHATD_ALLOW_OPEN or CHATD_TRUSTED_PROXIES is set)")

    static let noRightToRead = HTTPRefusal(
        .forbidden, code: "forbidden", "no right to read this room")

    static let noRightToWrite = HTTPRefusal(
        .forbidden, code: "forbidden", "no right to write in this room")

    /// - Parameter methods: those that are.
    static func notAllowed(_ methods: [HTTPRequest.Method]) -> HTTPRefusal {
        let names = methods.map(\.rawValue).joined(separator: ", ")
        var refusal = HTTPRefusal(
            .methodNotAllowed, code: "methodNotAllowed", "only \(names) can be done here")
        refusal.headers[.allow] = names
        return refusal
    }
}
