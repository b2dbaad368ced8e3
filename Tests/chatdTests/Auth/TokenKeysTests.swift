import Foundation
import HTTPTypes
import JWTKit
import Testing

@testable import chatd

@Suite struct TokenKeysTests {
    private func read(_ text: String) async throws(KeyFileError) -> [TokenKey] {
        try await TokenKeys.parse(Data(text.utf8)).keys
    }

    private func failure(_ text: String) async -> String? {
        do throws(KeyFileError) {
            _ = try await read(text)
            return nil
        } catch {
            return error.description
        }
    }

    private static let secret = String(repeating: "s", count: 32)
    private static let encodedSecret = TestSigner.encode(secret.utf8)

    @Test func `public keys in PEM say themselves what they are for`() async throws {
        let keys = try await read(
            """
            # Keys of the identity provider
            kid: first
            \(PublicPEM.rsa)

            \(PublicPEM.p256)
            kid:second
            \(PublicPEM.ed25519)

            """)

        #expect(keys.map(\.algorithm) == [.rs256, .es256, .edDSA])
        #expect(keys.map(\.id) == ["first", nil, "second"])
    }

    @Test(arguments: ["\n", "\r\n"])
    func `lines hold secrets`(end: String) async throws {
        let keys = try await read("kid: one\(end)hs256:\(Self.secret)\(end)")
        let signer = try await TestSigner.make(.hs256, secret: Self.secret)
        let parts = try signer.token("{}").split(separator: ".")
        let signature = try #require(Base64URL.decode(parts[2]))

        #expect(keys.map(\.id) == ["one"])
        #expect(keys[0].isValid(signature, of: Data("\(parts[0]).\(parts[1])".utf8)))
    }

    @Test func `a set of web keys gives those that are for tokens`() async throws {
        let (n, e) = try TestSigner.rsaKey.publicKey.getKeyPrimitives()
        let rsa =
            "\"kty\":\"RSA\",\"n\":\"\(TestSigner.encode(n))\",\"e\":\"\(TestSigner.encode(e))\""
        let edDSA = try EdDSA.PrivateKey().publicKey.rawRepresentation
        let keys = try await read(
            """
            {"keys":[
              {"kty":"oct","kid":"a","k":"\(Self.encodedSecret)","alg":"HS256"},
              {\(rsa),"kid":"b"}, {\(rsa),"use":"enc"}, {\(rsa),"alg":"PS256"},
              {"kty":"OKP","crv":"Ed25519","x":"\(TestSigner.encode(edDSA))","use":"sig"},
              {"kty":"OKP","crv":"X25519","x":"AA"}, {"kty":"EC","crv":"P-384","x":"","y":""},
              {"kty":"new"}]}
            """)

        #expect(keys.map(\.algorithm) == [.hs256, .rs256, .edDSA])
        #expect(keys.map(\.id) == ["a", "b", nil])
    }

    @Test func `one web key is a file, too`() async throws {
        let pem = try ES256PublicKey(pem: PublicPEM.p256)
        let parameters = try #require(pem.parameters)
        let (x, y) = (url(parameters.x), url(parameters.y))

        let keys = try await read(
            "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"\(x)\",\"y\":\"\(y)\"}")

        #expect(keys.map(\.algorithm) == [.es256])
    }

    private func url(_ base64: String) -> String {
        base64.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    @Test(arguments: [
        ("", "no key"), ("# nothing", "no key"), ("{\"keys\":[]}", "no key"), ("{", "JSON Web Key"),
        ("{\"keys\":[{}]}", "JSON Web Key"), ("secret", "line 1"), ("\n\nxyz", "line 3"),
        ("hs256:short", "32 bytes"), ("hs256:", "32 bytes"),
        ("hs256:-----BEGIN PUBLIC KEY-----MIIBIjANBgkqhkiG9w0", "no secret"),
        ("{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}", "32 bytes"), ("{\"kty\":\"oct\"}", "oct"),
        ("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "RSA"), ("{\"kty\":\"new\"}", "no key"),
        ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}", "Ed25519"),
        ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\",\"d\":\"AA\"}", "private"),
        ("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "P-256"),
        (PublicPEM.p384, "P-256"), (PublicPEM.shortRSA, "2048"), (TestSigner.rsaPEM, "private"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA", "end"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "RSA"),
        (String(repeating: "hs256:\(secret)\n", count: 17), "16"),
    ])
    func `a file that is not good says why, and repeats nothing`(
        text: String, words: String
    ) async {
        let reason = await failure(text)

        #expect(reason?.contains(words) == true, "\(reason ?? "nothing is wrong")")
        #expect(reason?.contains("short") != true && reason?.contains("xyz") != true)
    }
}

@Suite struct CredentialsTests {
    private func token(_ headers: [String], _ protocols: [String] = []) -> Credentials.Token {
        guard let target = RequestTarget("/v1/rooms/lobby/socket?user=bo") else { return .several }
        return Credentials(target) { $0 == .authorization ? headers : protocols }.token
    }

    @Test(
        arguments: [
            (["Bearer a.b.c"], []), (["bearer a.b.c"], []), (["Bearer   a.b.c"], []),
            ([], ["chat.v1, bearer.a.b.c"]), ([], ["bearer.a.b.c", "chat.v1"]),
            (["Bearer a.b.c"], ["chat.v1, bearer.x.y.z"]),
            (["Basic YTpi"], ["chat.v1, bearer.a.b.c"]),
        ] as [([String], [String])])
    func `a token is in the header, or beside the subprotocol`(
        headers: [String], protocols: [String]
    ) {
        #expect(token(headers, protocols) == .one("a.b.c"))
    }

    @Test func `other things are no token, and two are one too many`() {
        #expect(token([]) == .none)
        #expect(token(["Basic YTpi"]) == .none)
        #expect(token([], ["chat.v1"]) == .none)
        #expect(token(["Bearer a", "Bearer b"]) == .several)
        #expect(token(["Bearer a", "Basic b"]) == .several)
        #expect(token([], ["bearer.a, bearer.b"]) == .several)
    }

    @Test func `credentials do not show themselves`() {
        #expect("\(Credentials(user: "ada", token: .one("secret")))" == "credentials")
    }
}
