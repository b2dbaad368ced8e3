import FoundationEssentials
import JWTKit

/// Why a file of keys cannot be used, in words for people; nothing of its content is repeated.
struct KeyFileError: Error, Equatable, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

/// All keys of a server.
struct TokenKeys: Sendable {
    /// Keys at most: a token that names none is checked with each one of its algorithm.
    static let countAtMost = 16

    let keys: [TokenKey]

    /// Whether whoever reads the keys can make tokens.
    var hasSecret: Bool { keys.contains { $0.algorithm == .hs256 } }

    init(_ keys: [TokenKey]) throws(KeyFileError) {
        guard !keys.isEmpty else {
            throw KeyFileError("it has no key for HS256, RS256, ES256 or EdDSA")
        }
        guard keys.count <= Self.countAtMost else {
            throw KeyFileError("it has more than \(Self.countAtMost) keys")
        }
        self.keys = keys
    }

    /// Reads the content of a file: a JSON Web Key (set), or lines with keys.
    static func parse(_ content: Data) async throws(KeyFileError) -> TokenKeys {
        let isJSON = content.first { !" \t\r\n".utf8.contains($0) } == UInt8(ascii: "{")
        return isJSON ? try await webKeys(content) : try await lines(content)
    }

    // MARK: Lines

    /// Keys between `-----BEGIN PUBLIC KEY-----` and `-----END…`, and lines `hs256:SECRET`. A line
    /// `kid: NAME` names the key that follows; empty lines and those after `#` are passed over.
    private static func lines(_ content: Data) async throws(KeyFileError) -> TokenKeys {
        guard let text = String(validating: content, as: UTF8.self) else {
            throw KeyFileError("it is not text")
        }
        var keys: [TokenKey] = []
        var id: String?
        var block: [Substring]?
        for (index, line) in text.split(
            omittingEmptySubsequences: false, whereSeparator: \.isNewline
        ).enumerated() {
            if block != nil {
                block?.append(line)
                guard line.hasPrefix("-----END ") else { continue }
                keys.append(try await publicKey(block?.joined(separator: "\n") ?? "", id: id))
                (block, id) = (nil, nil)
            } else if line.hasPrefix("-----BEGIN ") {
                block = [line]
            } else if line.hasPrefix("hs256:") {
                keys.append(try await .secret(Data(line.dropFirst(6).utf8), id: id))
                id = nil
            } else if line.hasPrefix("kid:") {
                id = String(line.dropFirst(4).drop { $0 == " " })
            } else if !line.isEmpty, line.first != "#" {
                throw KeyFileError(
                    "line \(index + 1) is no key: there are PEM blocks, hs256:SECRET and kid: NAME")
            }
        }
        guard block == nil else { throw KeyFileError("a PEM block has no end") }
        return try TokenKeys(keys)
    }

    private static func publicKey(
        _ pem: String, id: String?
    ) async throws(KeyFileError) -> TokenKey {
        guard !pem.contains("PRIVATE KEY-----") else { throw .privateKey }
        if let key = read({ try ES256PublicKey(pem: pem) }) {
            return try await .ecdsa(key, id: id)
        }
        if let key = read({ try EdDSA.PublicKey(pem: pem) }) {
            return try await .edDSA(key, id: id)
        }
        if let key = read({ try Insecure.RSA.PublicKey(pem: pem) }) {
            return try await .rsa(key, id: id)
        }
        throw KeyFileError(
            "a PEM block is no public key of RSA (2048 bits or more), EC P-256 or Ed25519")
    }

    /// Nil when a key is of another kind, which the library tells by errors only.
    private static func read<Key>(_ key: () throws -> Key) -> Key? {
        do {
            return try key()
        } catch {
            return nil
        }
    }

    // MARK: JSON

    private static func webKeys(_ content: Data) async throws(KeyFileError) -> TokenKeys {
        let set: WebKeySet
        do {
            set = try JSONDecoder().decode(WebKeySet.self, from: content)
        } catch {
            throw KeyFileError("it is neither a JSON Web Key nor a set of them")
        }
        var keys: [TokenKey] = []
        for key in set.keys {
            if let key = try await tokenKey(key) { keys.append(key) }
        }
        return try TokenKeys(keys)
    }

    /// Nil for a key that is for other things, as RFC 7517, 5 wants it.
    private static func tokenKey(_ key: WebKey) async throws(KeyFileError) -> TokenKey? {
        guard key.use ?? "sig" == "sig" else { return nil }
        func isFor(_ algorithm: TokenKey.Algorithm) -> Bool {
            key.alg ?? algorithm.rawValue == algorithm.rawValue
        }
        switch (key.kty, key.crv) {
        case ("oct", _) where isFor(.hs256):
            guard let secret = key.k.flatMap(Base64URL.decode) else { throw .incomplete("oct") }
            return try await .secret(secret, id: key.kid)
        case ("RSA", _) where isFor(.rs256):
            guard key.d == nil else { throw .privateKey }
            guard let n = key.n, let e = key.e,
                let rsa = read({ try Insecure.RSA.PublicKey(modulus: n, exponent: e) })
            else { throw .incomplete("RSA (2048 bits or more)") }
            return try await .rsa(rsa, id: key.kid)
        case ("EC", "P-256") where isFor(.es256):
            guard key.d == nil else { throw .privateKey }
            guard let x = key.x, let y = key.y,
                let ecdsa = read({ try ES256PublicKey(parameters: (x: x, y: y)) })
            else { throw .incomplete("EC P-256") }
            return try await .ecdsa(ecdsa, id: key.kid)
        case ("OKP", "Ed25519") where isFor(.edDSA):
            guard key.d == nil else { throw .privateKey }
            guard let x = key.x,
                let edDSA = read({ try EdDSA.PublicKey(x: x, curve: .ed25519) })
            else { throw .incomplete("Ed25519") }
            return try await .edDSA(edDSA, id: key.kid)
        default:
            return nil
        }
    }
}

extension KeyFileError {
    fileprivate static let privateKey = KeyFileError(
        "it has a private key, which has no business on a server that only checks tokens")

    fileprivate static func incomplete(_ kind: StaticString) -> KeyFileError {
        KeyFileError("a key is not a whole one of \(kind)")
    }
}

/// A file in JSON: one key, or a set.
private struct WebKeySet: Decodable {
    var keys: [WebKey]

    private enum Name: CodingKey {
        case keys
    }

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Name.self)
        keys =
            fields.contains(.keys)
            ? try fields.decode([WebKey].self, forKey: .keys) : [try WebKey(from: decoder)]
    }
}

/// RFC 7517 and 7518, 6.
private struct WebKey: Decodable {
    var kty: String
    var kid, alg, use: String?
    var k, n, e, crv, x, y, d: String?
}

/// RFC 4648, 5, without padding.
enum Base64URL {
    /// Nil when `text` is none.
    static func decode(_ text: some StringProtocol) -> Data? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count + 3)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "-"): bytes.append(UInt8(ascii: "+"))
            case UInt8(ascii: "_"): bytes.append(UInt8(ascii: "/"))
            case UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="): return nil
            default: bytes.append(byte)
            }
        }
        while !bytes.count.isMultiple(of: 4) { bytes.append(UInt8(ascii: "=")) }
        return Data(base64Encoded: Data(bytes))
    }
}
