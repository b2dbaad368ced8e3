import Foundation
import Glibc

/// Runs the program that was built beside the tests.
struct Shardctl {
    struct Answer {
        var code: Int
        var text: String
        var json: [String: Any]
    }

    /// The program's output is no JSON object.
    struct NotUnderstood: Error {
        var text: String
    }

    let catalog: String

    func run(_ words: String...) async throws -> Answer { try await run(words) }

    /// With `--json`: what is on standard output must be one object.
    func run(_ words: [String]) async throws -> Answer {
        var answer = try await runPlainly(words + ["--json"])
        let object = try JSONSerialization.jsonObject(with: Data(answer.text.utf8))
        guard let json = object as? [String: Any] else {
            throw NotUnderstood(text: answer.text)
        }
        answer.json = json
        return answer
    }

    func runPlainly(_ words: [String]) async throws -> Answer {
        try await run(program.path(), words)
    }

    /// Runs what a command proposed, as an operator would: by a shell.
    func shell(_ command: String) async throws -> Answer {
        try await run("/bin/sh", ["-c", command])
    }

    private var program: URL {
        URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appending(path: "shardctl")
    }

    private func run(_ program: String, _ words: [String]) async throws -> Answer {
        let file = FileManager.default.temporaryDirectory
            .appending(path: "shardctl-\(UUID().uuidString)")
        let status = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(returning: spawn(program, words, output: file.path()))
            }
        }
        let text = try String(contentsOf: file, encoding: .utf8)
        try FileManager.default.removeItem(at: file)
        return Answer(code: Int(status), text: text, json: [:])
    }

    private func spawn(_ file: String, _ words: [String], output: String) -> Int32 {
        let environment = [
            "SHARD_CATALOG=\(catalog)", "SHARDCTL_MIGRATIONS=\(Databases.migrations.path())",
            "PATH=\(program.deletingLastPathComponent().path())"
                + ":\(ProcessInfo.processInfo.environment["PATH"] ?? "")",
            "PGCONNECT_TIMEOUT=10",
        ]
        var arguments = ([file] + words).map { strdup($0) } + [nil]
        var variables = environment.map { strdup($0) } + [nil]
        defer { (arguments + variables).forEach { free($0) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var pid = pid_t()
        guard posix_spawn(&pid, file, &actions, nil, &arguments, &variables) == 0 else {
            return -1
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status >> 8 & 0xff
    }
}
