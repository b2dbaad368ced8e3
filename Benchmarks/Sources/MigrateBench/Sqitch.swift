import BenchKit
import Foundation

/// Databases of its own for Sqitch, with a project that does what the application's files do.
struct Sqitch: Sendable {
    let databases: [BenchCluster.Place]
    private let stage: MigrateStage
    private let home: String

    /// nil where it is not installed.
    static func version() throws -> String? {
        let answer = try shell("sqitch --version 2>/dev/null || true").trimmed
        return answer.isEmpty ? nil : answer
    }

    /// Makes databases in which the project is known to Sqitch and nothing of it is deployed.
    ///
    /// - Returns: nil where it is not installed.
    static func make(
        _ name: String, databases count: Int, files: [MigrationText], stage: MigrateStage
    ) async throws -> Sqitch? {
        guard try version() != nil else { return nil }
        let sqitch = Sqitch(
            databases: (0..<count).map {
                BenchCluster.Place(
                    server: stage.servers[$0 % stage.servers.count],
                    database: "\(name)_sqitch_\($0 + 1)")
            },
            stage: stage, home: "\(stage.folder)/\(name)-sqitch")
        try sqitch.writeProject(files)
        for server in stage.servers {
            let template = BenchCluster.Place(server: server, database: "\(name)_sqitch")
            try await runScript(
                "create database \(template.database)", at: server.place("postgres"))
            // It makes its own schema at the first deployment.
            try await sqitch.prepare(template)
            try shell("cd '\(sqitch.home)' && \(sqitch.deploy(to: sqitch.uri(template)))")
            try await sqitch.clear(template)
        }
        for place in sqitch.databases {
            try await runScript(
                "create database \(place.database) template \(name)_sqitch",
                at: place.server.place("postgres"))
        }
        return sqitch
    }

    var deployment: ShellLoop { loop(deploy(to: "$0")) }
    var status: ShellLoop { loop("sqitch status \"$0\" > /dev/null") }

    /// Takes everything back that was deployed, without Sqitch.
    func reset() async throws {
        for place in databases { try await clear(place) }
        try await stage.settle()
    }

    private func loop(_ command: String) -> ShellLoop {
        ShellLoop(lines: "\(home)/places", body: "cd \"\(home)\"; \(command)")
    }

    private func deploy(to target: String) -> String {
        "sqitch deploy --quiet --no-verify \"\(target)\""
    }

    private func prepare(_ place: BenchCluster.Place) async throws {
        try await runScript(
            "drop schema if exists app cascade; create schema app", at: place.connectionString)
    }

    private func clear(_ place: BenchCluster.Place) async throws {
        try await prepare(place)
        try await runScript(
            "truncate sqitch.changes, sqitch.dependencies, sqitch.events, sqitch.tags",
            at: place.connectionString)
    }

    private func uri(_ place: BenchCluster.Place) -> String {
        "db:pg://postgres@127.0.0.1:\(place.server.port)/\(place.database)"
    }

    /// The files that `sqitch init` and `sqitch add` would write.
    private func writeProject(_ files: [MigrationText]) throws {
        try shell("mkdir -p '\(home)/deploy'")
        let configuration = """
            [core]
                engine = pg
            [engine "pg"]
                client = \(stage.psql)
            [user]
                name = bench
                email = bench@example.com

            """
        let changes = files.map { "step_\($0.name) 2026-01-01T00:00:00Z b <b@example.com> # x" }
        let plan = ["%syntax-version=1.0.0", "%project=bench", ""] + changes + [""]
        let texts = [
            ("sqitch.conf", configuration), ("sqitch.plan", plan.joined(separator: "\n")),
            ("places", databases.map { uri($0) + "\n" }.joined()),
        ]
        for (name, text) in texts {
            try text.write(toFile: "\(home)/\(name)", atomically: true, encoding: .utf8)
        }
        for file in files {
            try "begin;\n\(file.sql)\ncommit;\n".write(
                toFile: "\(home)/deploy/step_\(file.name).sql", atomically: true, encoding: .utf8)
        }
    }
}
