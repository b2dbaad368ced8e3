/// The claims of a token whose signature fits, as they stand there.
struct TokenClaims: Decodable {
    var sub: String?
    /// Seconds since 1970, perhaps with a fraction.
    var exp, nbf, iat: Double?
    var aud: [String]
    var iss: String?
    var rooms: [String: [String]]

    init(from decoder: any Decoder) throws {
        let claims = try decoder.container(keyedBy: TokenClaim.self)
        sub = try claims.decodeIfPresent(String.self, forKey: .sub)
        exp = try claims.decodeIfPresent(Double.self, forKey: .exp)
        nbf = try claims.decodeIfPresent(Double.self, forKey: .nbf)
        iat = try claims.decodeIfPresent(Double.self, forKey: .iat)
        aud = try claims.decodeIfPresent(Audience.self, forKey: .aud)?.names ?? []
        iss = try claims.decodeIfPresent(String.self, forKey: .iss)
        rooms = try claims.decodeIfPresent([String: [String]].self, forKey: .rooms) ?? [:]
    }

    /// One name, or a list of them: RFC 7519, 4.1.3.
    private struct Audience: Decodable {
        var names: [String]

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            do {
                names = [try value.decode(String.self)]
            } catch DecodingError.typeMismatch {
                names = try value.decode([String].self)
            }
        }
    }
}
