import Foundation
import JWTKit
import Postgres

@testable import chatd

/// Makes tokens as somebody else would, good ones and bad ones.
struct TestSigner {
    let algorithm: TokenKey.Algorithm
    /// What a server needs to prove them.
    let key: TokenKey
    private let signer: any JWTAlgorithm

    static func make(
        _ algorithm: TokenKey.Algorithm, kid: String? = nil, secret: String = sharedSecret
    ) async throws -> TestSigner {
        let keys = JWTKeyCollection()
        let key: TokenKey
        switch algorithm {
        case .hs256:
            await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
            key = try await .secret(Data(secret.utf8), id: kid)
        case .rs256:
            await keys.add(rsa: rsaKey, digestAlgorithm: .sha256)
            key = try await .rsa(rsaKey.publicKey, id: kid)
        case .es256:
            let pair = ES256PrivateKey()
            await keys.add(ecdsa: pair)
            key = try await .ecdsa(pair.publicKey, id: kid)
        case .edDSA:
            let pair = try EdDSA.PrivateKey()
            await keys.add(eddsa: pair)
            key = try await .edDSA(pair.publicKey, id: kid)
        }
        return TestSigner(algorithm: algorithm, key: key, signer: try await keys.getKey())
    }

    /// - Parameters:
    ///   - header: JSON; the right one unless it is given.
    ///   - claims: JSON.
    func token(header: String? = nil, _ claims: String) throws -> String {
        let header =
            header
            ?? "{\"alg\":\"\(algorithm.rawValue)\""
            + (key.id.map { ",\"kid\":\"\($0)\"" } ?? "") + "}"
        let signed = "\(Self.encode(header.utf8)).\(Self.encode(claims.utf8))"
        return "\(signed).\(Self.encode(try signer.sign(Data(signed.utf8))))"
    }

    static func encode(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
            .replacing("=", with: "")
    }

    /// Claims that are good for a minute after `now`.
    static func claims(
        sub: String = "ada", at now: Timestamp, lasting: Int = 60,
        rooms: String = "{\"lobby\":[\"read\",\"write\"]}", more: String = ""
    ) -> String {
        let exp = now.microsecondsSince1970 / 1_000_000 + Int64(lasting)
        return "{\"sub\":\"\(sub)\",\"exp\":\(exp),\"rooms\":\(rooms)\(more)}"
    }

    static let sharedSecret = "a secret of forty bytes for these tests."
    /// Made once: it takes a while.
    static let rsaKey: Insecure.RSA.PrivateKey = {
        guard let key = try? Insecure.RSA.PrivateKey(pem: rsaPEM) else {
            preconditionFailure("the key below is good")
        }
        return key
    }()
}
