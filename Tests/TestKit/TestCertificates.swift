public import Foundation
import Glibc

/// A certificate authority for one test, and certificates that it vouches for.
public final class TestCertificates: Sendable {
    public let folder: URL

    /// The authority's own certificate.
    public var authority: String { path("ca.crt") }

    public init() throws {
        folder = FileManager.default.temporaryDirectory
            .appending(path: "certificates-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", "/CN=test authority", "-keyout", path("ca.key"),
            "-out", path("ca.crt"))
    }

    deinit {
        do {
            try FileManager.default.removeItem(at: folder)
        } catch {
            print("cannot remove \(folder.path()): \(error)")
        }
    }

    /// Makes a certificate for `names`, such as `DNS:localhost` and `IP:127.0.0.1`.
    ///
    /// - Returns: the paths of the certificate and of its key.
    public func make(_ names: [String]) throws -> (certificate: String, key: String) {
        let name = UUID().uuidString
        let (certificate, key) = (path("\(name).crt"), path("\(name).key"))
        try openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=test server", "-keyout", key, "-out", path("\(name).csr"))
        try Data("subjectAltName=\(names.joined(separator: ","))\n".utf8)
            .write(to: folder.appending(path: "\(name).ext"))
        try openssl(
            "x509", "-req", "-in", path("\(name).csr"), "-CA", path("ca.crt"),
            "-CAkey", path("ca.key"), "-CAcreateserial", "-days", "2",
            "-extfile", path("\(name).ext"), "-out", certificate)
        return (certificate, key)
    }

    private func path(_ name: String) -> String { folder.appending(path: name).path() }

    private func openssl(_ words: String...) throws {
        let pid = try RedisServer.spawn(["openssl"] + words)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            throw TestServerError(description: "openssl \(words) ended with \(status)")
        }
    }
}
