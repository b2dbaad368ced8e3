import Foundation
import Logging
import Testing

@testable import chatd

@Suite struct KeyFileTests {
    private let path = FileManager.default.temporaryDirectory
        .appending(path: "keys-\(UUID().uuidString)").path
    private let log = RecordedLog()

    private func write(_ text: String, mode: Int = 0o600) throws {
        try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private static func secret(_ kid: String) -> String {
        "kid: \(kid)\nhs256:\(String(repeating: kid, count: 32))\n"
    }

    private var warnings: Int { log.lines(.warning).count }

    private func ids(_ file: KeyFile) -> [String?] { file.keys.keys.map(\.id) }

    @Test func `a file that changes is read again, one that is broken is not taken`() async throws {
        defer { try? FileManager.default.removeItem(atPath: path) }
        try write(Self.secret("a"))
        let file = try await KeyFile.open(path, logger: log.logger)

        await file.look()
        #expect(warnings == 0)

        try write(Self.secret("a") + Self.secret("b"))
        await file.look()
        #expect(ids(file) == ["a", "b"])

        let before = warnings
        try write("kid: c\nhs256:tooshort")
        for _ in 0..<3 { await file.look() }
        #expect(ids(file) == ["a", "b"])
        #expect(warnings == before + 1)

        try FileManager.default.removeItem(atPath: path)
        for _ in 0..<3 { await file.look() }
        #expect(ids(file) == ["a", "b"])
        #expect(warnings == before + 2)

        try write(Self.secret("c"))
        await file.look()
        #expect(ids(file) == ["c"])
        #expect(!log.all.contains("tooshort") && !log.all.contains("cccc"))
    }

    @Test(arguments: [(0o600, 0), (0o640, 0), (0o644, 1), (0o666, 1)])
    func `a secret that everybody can read is told`(mode: Int, lines: Int) async throws {
        defer { try? FileManager.default.removeItem(atPath: path) }
        try write(Self.secret("a"), mode: mode)

        _ = try await KeyFile.open(path, logger: log.logger)

        #expect(warnings == lines)
    }

    @Test(arguments: [(0o644, 0), (0o666, 1)])
    func `public keys may be read by everybody, not written`(mode: Int, lines: Int) async throws {
        defer { try? FileManager.default.removeItem(atPath: path) }
        try write(PublicPEM.ed25519, mode: mode)

        _ = try await KeyFile.open(path, logger: log.logger)

        #expect(warnings == lines)
    }

    @Test(arguments: ["/nowhere/keys", "/tmp", "/dev/zero"])
    func `what is no file is refused at the start`(path: String) async {
        await #expect(throws: KeyFileError.self) {
            try await KeyFile.open(path, logger: log.logger)
        }
    }
}
