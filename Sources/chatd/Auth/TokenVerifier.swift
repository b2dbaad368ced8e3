import FoundationEssentials
import Postgres

/// Makes of a token who sent it. Pure: keys and time are given.
struct TokenVerifier: Sendable {
    /// Bytes of the longest token: it must fit into a header field with room to spare.
    static let bytesAtMost = 8 * 1_024
    /// How far the clock of whoever made a token may be ahead of ours. There is no grace behind
    /// `exp`: a socket ends then, too, when it is looked at next.
    static let skew: Duration = .seconds(30)

    var keys: TokenKeys
    /// What `aud` must name; nil: it is not looked at.
    var audience: String?
    /// What `iss` must be; nil: it is not looked at.
    var issuer: String?

    /// Whom `token` names, once its signature and its claims are found good.
    ///
    /// Costs one verification – as many as there are keys of its algorithm when the token names
    /// none – and 10 µs for the JSON: little enough for an event loop, in which it is spent.
    func identity(of token: String, at now: Timestamp) throws(TokenError) -> Identity {
        guard token.utf8.count <= Self.bytesAtMost else { throw .tooLong }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let head = Base64URL.decode(parts[0]),
            let payload = Base64URL.decode(parts[1]), let signature = Base64URL.decode(parts[2])
        else { throw .malformed }
        let candidates = try candidates(for: try header(head))
        let signed = Data("\(parts[0]).\(parts[1])".utf8)
        guard candidates.contains(where: { $0.isValid(signature, of: signed) }) else {
            throw .badSignature
        }
        return try identity(of: try claims(payload), at: now)
    }

    // MARK: Signature

    private struct Header: Decodable {
        /// Its value does not matter.
        struct Extension: Decodable {
            init(from decoder: any Decoder) {}
        }

        var alg: String
        var kid: String?
        var crit: Extension?
    }

    private func header(_ bytes: Data) throws(TokenError) -> Header {
        do {
            return try JSONDecoder().decode(Header.self, from: bytes)
        } catch {
            throw .malformed
        }
    }

    /// The keys that may have made the token: those of its `kid`, and of its algorithm only.
    private func candidates(for header: Header) throws(TokenError) -> [TokenKey] {
        guard header.crit == nil else { throw .criticalExtension }
        guard let algorithm = TokenKey.Algorithm(rawValue: header.alg) else {
            throw .wrongAlgorithm
        }
        let named = keys.keys.filter { header.kid == nil || $0.id == header.kid }
        guard !named.isEmpty else { throw .unknownKey }
        let candidates = named.filter { $0.algorithm == algorithm }
        guard !candidates.isEmpty else { throw .wrongAlgorithm }
        return candidates
    }

    // MARK: Claims

    private func claims(_ payload: Data) throws(TokenError) -> TokenClaims {
        do {
            return try JSONDecoder().decode(TokenClaims.self, from: payload)
        } catch DecodingError.typeMismatch(_, let context),
            DecodingError.dataCorrupted(let context), DecodingError.valueNotFound(_, let context)
        {
            guard let claim = context.codingPath.first as? TokenClaim else { throw .malformed }
            throw .badClaim(claim)
        } catch {
            throw .malformed
        }
    }

    private func identity(
        of claims: TokenClaims, at now: Timestamp
    ) throws(TokenError) -> Identity {
        guard let exp = claims.exp else { throw .badClaim(.exp) }
        let expiresAt = Self.time(exp)
        guard now < expiresAt else { throw .expired }
        let latest = now.advanced(by: Self.skew)
        for start in [claims.nbf, claims.iat] {
            guard start.map({ Self.time($0) <= latest }) ?? true else { throw .notYetValid }
        }
        guard audience.map(claims.aud.contains) ?? true else { throw .wrongAudience }
        guard issuer == nil || claims.iss == issuer else { throw .wrongIssuer }
        return Identity(
            user: try user(claims.sub), grants: .patterns(Self.grants(claims.rooms)),
            expiresAt: expiresAt)
    }

    private func user(_ sub: String?) throws(TokenError) -> String {
        guard let sub else { throw .badClaim(.sub) }
        do throws(FrameError) {
            return try UserName.parse(sub)
        } catch {
            throw .badClaim(.sub)
        }
    }

    private static func grants(_ rooms: [String: [String]]) -> [Identity.Grant] {
        rooms.map { pattern, names in
            Identity.Grant(
                pattern: RoomPattern(pattern),
                rights: names.reduce(into: []) { $0.formUnion(Rights(named: $1)) })
        }.filter { !$0.rights.isEmpty }
    }

    /// Times beyond what the chat can write down are brought to the nearest that it can.
    private static func time(_ seconds: Double) -> Timestamp {
        let range = ClientMessage.times
        let last = Double(range.upperBound.microsecondsSince1970 / 1_000_000)
        guard seconds > 0 else { return range.lowerBound }  // Not a number is no time, either.
        guard seconds < last else { return range.upperBound }
        return Timestamp(microsecondsSince1970: Int64(seconds * 1_000_000))
    }
}
