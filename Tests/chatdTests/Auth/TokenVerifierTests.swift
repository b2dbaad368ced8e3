import Foundation
import JWTKit
import Postgres
import TestKit
import Testing

@testable import chatd

@Suite(.timeLimit(.minutes(1))) struct TokenVerifierTests {
    private static let now = ManualClock().time
    private static let all: [TokenKey.Algorithm] = [.hs256, .rs256, .es256, .edDSA]

    private func verify(
        _ token: String, _ keys: [TokenKey], audience: String? = nil, issuer: String? = nil
    ) throws(TokenError) -> Identity {
        let set: TokenKeys
        do throws(KeyFileError) {
            set = try TokenKeys(keys)
        } catch {
            preconditionFailure("\(error)")
        }
        return try TokenVerifier(keys: set, audience: audience, issuer: issuer)
            .identity(of: token, at: Self.now)
    }

    private func failure(
        _ token: String, _ keys: [TokenKey], audience: String? = nil, issuer: String? = nil
    ) -> TokenError? {
        do throws(TokenError) {
            _ = try verify(token, keys, audience: audience, issuer: issuer)
            return nil
        } catch {
            return error
        }
    }

    // MARK: Signatures

    @Test(arguments: all)
    func `a good token names its user, his rights and its end`(
        algorithm: TokenKey.Algorithm
    ) async throws {
        let signer = try await TestSigner.make(algorithm)

        let identity = try verify(
            try signer.token(TestSigner.claims(at: Self.now)), [signer.key])

        #expect(identity.user == "ada")
        #expect(identity.rights(in: .lobby) == [.read, .write])
        #expect(identity.expiresAt.map { Self.now.duration(to: $0) <= .seconds(60) } == true)
    }

    @Test(arguments: all)
    func `a signature of another key does not fit`(algorithm: TokenKey.Algorithm) async throws {
        let signer = try await TestSigner.make(
            algorithm, secret: "another secret, which has forty bytes, too")
        let other = try await TestSigner.make(algorithm)
        guard algorithm != .rs256 else { return }  // There is one pair only, see below.

        let token = try signer.token(TestSigner.claims(at: Self.now))

        #expect(failure(token, [other.key]) == .badSignature)
        #expect(failure(token, [other.key, signer.key]) == nil)
    }

    @Test(arguments: all)
    func `changed claims, a cut or an empty signature do not fit`(
        algorithm: TokenKey.Algorithm
    ) async throws {
        let signer = try await TestSigner.make(algorithm)
        let parts = try signer.token(TestSigner.claims(at: Self.now)).split(separator: ".")
        let other = TestSigner.encode(TestSigner.claims(sub: "eve", at: Self.now).utf8)

        #expect(failure("\(parts[0]).\(other).\(parts[2])", [signer.key]) == .badSignature)
        #expect(
            failure("\(parts[0]).\(parts[1]).\(parts[2].dropLast(4))", [signer.key])
                == .badSignature)
        #expect(failure("\(parts[0]).\(parts[1]).", [signer.key]) == .badSignature)
    }

    @Test func `a public key is no secret`() async throws {
        let rsa = try await TestSigner.make(.rs256)
        for text in [PublicPEM.rsa, PublicPEM.rsa + "\n"] {
            let keys = JWTKeyCollection()
            await keys.add(hmac: HMACKey(from: text), digestAlgorithm: .sha256)
            let head = TestSigner.encode("{\"alg\":\"HS256\"}".utf8)
            let signed = "\(head).\(TestSigner.encode(TestSigner.claims(at: Self.now).utf8))"
            let signature = try await keys.getKey().sign(Data(signed.utf8))

            #expect(
                failure("\(signed).\(TestSigner.encode(signature))", [rsa.key]) == .wrongAlgorithm)
        }
    }

    @Test(arguments: [
        "none", "None", "NONE", "", "HS384", "HS512", "RS384", "PS256", "ES384", "ES256K", "hs256",
        "EdDSA ",
    ])
    func `other algorithms are refused, whatever the signature`(name: String) async throws {
        for algorithm in Self.all {
            let signer = try await TestSigner.make(algorithm)
            let token = try signer.token(
                header: "{\"alg\":\"\(name)\"}", TestSigner.claims(at: Self.now))

            #expect(failure(token, [signer.key]) == .wrongAlgorithm)
            let unsigned = token.split(separator: ".").prefix(2).joined(separator: ".") + "."
            #expect(failure(unsigned, [signer.key]) == .wrongAlgorithm)
        }
    }

    @Test(arguments: all)
    func `an algorithm that no key has is refused`(algorithm: TokenKey.Algorithm) async throws {
        let signer = try await TestSigner.make(algorithm)
        let token = try signer.token(TestSigner.claims(at: Self.now))

        for other in Self.all where other != algorithm {
            #expect(failure(token, [try await TestSigner.make(other).key]) == .wrongAlgorithm)
        }
    }

    @Test func `a kid chooses the key, and one that is not known is refused`() async throws {
        let first = try await TestSigner.make(.es256, kid: "first")
        let second = try await TestSigner.make(.es256, kid: "second")
        let nameless = try await TestSigner.make(.es256)
        let keys = [first.key, second.key, nameless.key]
        let claims = TestSigner.claims(at: Self.now)

        #expect(failure(try second.token(claims), keys) == nil)
        let header = "{\"alg\":\"ES256\",\"kid\":\"first\"}"
        #expect(failure(try second.token(header: header, claims), keys) == .badSignature)
        let unknown = "{\"alg\":\"ES256\",\"kid\":\"third\"}"
        #expect(failure(try nameless.token(header: unknown, claims), keys) == .unknownKey)
        let plain = "{\"alg\":\"ES256\"}"
        #expect(failure(try second.token(header: plain, claims), keys) == nil)
        let number = "{\"alg\":\"ES256\",\"kid\":1}"
        #expect(failure(try second.token(header: number, claims), keys) == .malformed)
    }

    @Test func `critical extensions are refused`() async throws {
        let signer = try await TestSigner.make(.hs256)
        let header = "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}"

        #expect(
            failure(try signer.token(header: header, TestSigner.claims(at: Self.now)), [signer.key])
                == .criticalExtension)
    }

    // MARK: Form

    @Test(arguments: [
        "", ".", "..", "...", "a.b.c", "a.b", "e30.e30.e30", "e30..", "ä.ö.ü", "e30=.e30.e30",
        "e30.e30.e30.e30", "W10.W10.W10", "bnVsbA.bnVsbA.", "ey.ey.ey",
    ])
    func `what is no token is refused`(text: String) async throws {
        #expect(failure(text, [try await TestSigner.make(.hs256).key]) == .malformed)
    }

    @Test func `a header that is nested deeply ends nothing`() async throws {
        let signer = try await TestSigner.make(.hs256)
        let depth = 5_000
        let nested = String(repeating: "[", count: depth)

        for header in ["{\"alg\":\(nested)", "{\"alg\":\"HS256\",\"crit\":\(nested)", nested] {
            #expect(failure(try signer.token(header: header, "{}"), [signer.key]) == .malformed)
        }
    }

    @Test func `no change to a token is taken`() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededGenerator(seed: seed)
        let signer = try await TestSigner.make(.hs256)
        let token = Array(try signer.token(TestSigner.claims(at: Self.now)).utf8)
        let signed = token.prefix(upTo: try #require(token.lastIndex(of: UInt8(ascii: "."))))

        for _ in 0..<5_000 {
            var changed = token
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let index = Int.random(in: changed.indices, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: changed[index] = UInt8.random(in: 0...127, using: &random)
                case 1: changed.remove(at: index)
                default: changed.insert(changed[index], at: index)
                }
            }
            // The last bits of the signature's text mean nothing.
            if changed.starts(with: signed) { continue }
            let text = String(decoding: changed, as: UTF8.self)
            #expect(failure(text, [signer.key]) != nil, "seed \(seed): \(text)")
        }
    }

    @Test func `a token that is too long is not looked at`() async throws {
        let signer = try await TestSigner.make(.hs256)
        let name = String(repeating: "a", count: 8_192)
        let token = try signer.token(TestSigner.claims(sub: name, at: Self.now))

        #expect(failure(token, [signer.key]) == .tooLong)
    }

    // MARK: Claims

    private static let seconds = now.microsecondsSince1970 / 1_000_000

    @Test(
        arguments: [
            ("\"exp\":\(seconds + 1)", nil), ("\"exp\":\(seconds + 1).5", nil),
            ("\"exp\":1e300", nil),
            ("\"exp\":\(seconds)", .expired), ("\"exp\":\(seconds - 1)", .expired),
            ("\"exp\":0", .expired), ("\"exp\":-1", .expired), ("\"x\":1", .badClaim(.exp)),
            ("\"exp\":null", .badClaim(.exp)), ("\"exp\":\"\(seconds + 60)\"", .badClaim(.exp)),
            ("\"exp\":true", .badClaim(.exp)), ("\"exp\":[]", .badClaim(.exp)),
            ("\"exp\":\(seconds + 60),\"nbf\":\(seconds + 29)", nil),
            ("\"exp\":\(seconds + 60),\"nbf\":\(seconds + 32)", .notYetValid),
            ("\"exp\":\(seconds + 60),\"iat\":\(seconds + 29)", nil),
            ("\"exp\":\(seconds + 60),\"iat\":\(seconds + 32)", .notYetValid),
            ("\"exp\":\(seconds + 60),\"nbf\":\"x\"", .badClaim(.nbf)),
            ("\"exp\":\(seconds + 60),\"iat\":{}", .badClaim(.iat)),
        ] as [(String, TokenError?)])
    func `a token is good in its time only`(times: String, error: TokenError?) async throws {
        let signer = try await TestSigner.make(.hs256)

        let token = try signer.token("{\"sub\":\"ada\",\(times)}")

        #expect(failure(token, [signer.key]) == error)
    }

    @Test(arguments: ["", " ", "a\\nb", "a\\u202eb", String(repeating: "a", count: 65)])
    func `a sub must be the name of a user`(sub: String) async throws {
        let signer = try await TestSigner.make(.hs256)

        let token = try signer.token(TestSigner.claims(sub: sub, at: Self.now))

        #expect(failure(token, [signer.key]) == .badClaim(.sub))
        let none = try signer.token("{\"exp\":\(Self.seconds + 60)}")
        #expect(failure(none, [signer.key]) == .badClaim(.sub))
    }

    @Test(
        arguments: [
            ("", .wrongAudience), (",\"aud\":\"chat\"", nil), (",\"aud\":[\"x\",\"chat\"]", nil),
            (",\"aud\":[]", .wrongAudience), (",\"aud\":\"chats\"", .wrongAudience),
            (",\"aud\":7", .badClaim(.aud)), (",\"aud\":[7]", .badClaim(.aud)),
        ] as [(String, TokenError?)])
    func `the audience must be named when there is one`(
        more: String, error: TokenError?
    ) async throws {
        let signer = try await TestSigner.make(.hs256)

        let token = try signer.token(TestSigner.claims(at: Self.now, more: more))

        #expect(failure(token, [signer.key], audience: "chat") == error)
    }

    @Test(
        arguments: [
            ("", .wrongIssuer), (",\"iss\":\"https://id\"", nil), (",\"iss\":\"x\"", .wrongIssuer),
            (",\"iss\":[\"https://id\"]", .badClaim(.iss)),
        ] as [(String, TokenError?)])
    func `the issuer must be the one, when there is one`(
        more: String, error: TokenError?
    ) async throws {
        let signer = try await TestSigner.make(.hs256)

        let token = try signer.token(TestSigner.claims(at: Self.now, more: more))

        #expect(failure(token, [signer.key], issuer: "https://id") == error)
        if more == "" { #expect(failure(token, [signer.key]) == nil) }
    }

    @Test(
        arguments: [
            ("{\"lobby\":[\"read\"]}", .read), ("{}", []), ("null", []),
            ("{\"l*\":[\"read\"],\"*y\":[\"write\",\"own\"]}", [.read, .write]),
            ("{\"x\":[\"read\"]}", []), ("{\"lobby\":[]}", []),
        ] as [(String, Rights)])
    func `rooms give the rights that they name`(rooms: String, rights: Rights) async throws {
        let signer = try await TestSigner.make(.hs256)

        let token = try signer.token(TestSigner.claims(at: Self.now, rooms: rooms))

        #expect(try verify(token, [signer.key]).rights(in: .lobby) == rights)
    }

    @Test(arguments: ["[]", "\"*\"", "{\"lobby\":\"read\"}", "{\"lobby\":[1]}", "true"])
    func `rooms of another form are refused`(rooms: String) async throws {
        let signer = try await TestSigner.make(.hs256)

        let token = try signer.token(TestSigner.claims(at: Self.now, rooms: rooms))

        #expect(failure(token, [signer.key]) == .badClaim(.rooms))
    }

    @Test func `reasons fit into a close frame`() {
        let claims = TokenClaim.allCases.map(TokenError.badClaim)
        let others: [TokenError] = [
            .missing, .several, .tooLong, .malformed, .wrongAlgorithm, .criticalExtension,
            .unknownKey, .badSignature, .expired, .notYetValid, .wrongAudience, .wrongIssuer,
        ]
        for error in claims + others {
            #expect(AuthenticationError.token(error).reason.utf8.count <= 123)
        }
    }
}
