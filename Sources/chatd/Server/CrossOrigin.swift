import HTTPTypes
import HummingbirdCore

/// What browsers ask a server before they let pages of other origins talk to it over HTTP, and what it
/// answers: CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>.
///
/// Pages of listed origins may do what the server's own may. Nobody is known by a cookie here, so a
/// page does no more than whoever gives it a token.
struct CrossOrigin {
    /// For how long a browser need not ask again, in seconds.
    private static let memory = "600"

    var rule: OriginRule

    /// What an answer to `request` says beside itself: whether the page that asked may read it.
    func headers(for request: Request) -> HTTPFields {
        guard !rule.allowed.isEmpty else { return [:] }
        var headers: HTTPFields = [.vary: "Origin"]
        if let origin = listed(request) {
            headers[.accessControlAllowOrigin] = origin
            headers[.accessControlExposeHeaders] = "Retry-After, WWW-Authenticate"
        }
        return headers
    }

    /// Whether a browser asks by `request` what a page may do.
    func isQuestion(_ request: Request) -> Bool {
        request.method == .options && request.headers[.accessControlRequestMethod] != nil
    }

    /// The answer to a browser's question. ``headers(for:)`` belong to it, too.
    ///
    /// - Throws: when the page is of an origin that is not listed.
    func answer(
        _ request: Request, allowing methods: [HTTPRequest.Method]
    ) throws(HTTPRefusal) -> Response {
        guard listed(request) != nil else { throw .foreignOrigin }
        return Response(
            status: .noContent,
            headers: [
                .accessControlAllowMethods: methods.map(\.rawValue).joined(separator: ", "),
                .accessControlAllowHeaders: "Authorization, Content-Type",
                .accessControlMaxAge: Self.memory,
            ])
    }

    /// The origin of the page, when it is listed.
    private func listed(_ request: Request) -> String? {
        let origins = request.headers[values: .origin]
        guard origins.count == 1, let origin = OriginRule.Origin(origins[0]),
            rule.allowed.contains(origin)
        else { return nil }
        return origins[0]
    }
}
