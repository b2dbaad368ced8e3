/// Why somebody is not believed to be who he says.
enum AuthenticationError: Error, Equatable {
    /// The name in the query is missing, or is none.
    case name(FrameError)
    case token(TokenError)

    /// For people, and for the close frame: at most 123 bytes, and nothing that was sent.
    var reason: String {
        switch self {
        case .name(let error): error.message
        case .token(let error): "token: \(error.reason)"
        }
    }
}

/// Why a token is not taken.
enum TokenError: Error, Equatable {
    case missing, several, tooLong
    /// Not three parts in base64url, or no JSON in them.
    case malformed
    /// It names an algorithm that this server does not know, or that none of its keys has.
    case wrongAlgorithm
    /// It must be understood in a way that this server does not know (`crit`).
    case criticalExtension
    /// No key has its `kid`.
    case unknownKey
    case badSignature
    case expired, notYetValid
    /// A claim is missing, or of the wrong kind.
    case badClaim(TokenClaim)
    /// It was made for others, or by others.
    case wrongAudience, wrongIssuer

    /// For people; nothing of the token is repeated.
    var reason: String {
        switch self {
        case .missing: "missing"
        case .several: "more than one was sent"
        case .tooLong: "longer than \(TokenVerifier.bytesAtMost) bytes"
        case .malformed: "not a JSON Web Token"
        case .wrongAlgorithm: "its algorithm fits none of the keys here"
        case .criticalExtension: "it has a critical extension"
        case .unknownKey: "no key here has its kid"
        case .badSignature: "its signature does not fit"
        case .expired: "expired"
        case .notYetValid: "not valid yet"
        case .badClaim(let claim): "\(claim.rawValue): \(claim.rule)"
        case .wrongAudience: "made for another audience"
        case .wrongIssuer: "made by another issuer"
        }
    }
}

/// A claim that this server looks at.
enum TokenClaim: String, CodingKey, CaseIterable {
    case sub, exp, nbf, iat, aud, iss, rooms

    /// What it must be.
    var rule: String {
        switch self {
        case .sub: "must be the name of a user"
        case .exp: "must be a time in seconds since 1970"
        case .nbf, .iat: "must be a time in seconds since 1970, if it is there"
        case .aud: "must be a text or a list of texts"
        case .iss: "must be a text"
        case .rooms: "must be an object of lists, such as {\"lobby\":[\"read\"]}"
        }
    }
}
