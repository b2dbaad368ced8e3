import BenchKit
import Foundation

/// Databases of its own for another program that migrates.
struct RivalFleet: Sendable {
    let tool: RivalTool
    let databases: [BenchCluster.Place]
    private let stage: MigrateStage
    private let home: String

    /// Makes databases that the program knows, and in which nothing of its project is deployed.
    static func make(
        _ name: String, _ tool: RivalTool, databases count: Int, files: [MigrationText],
        stage: MigrateStage
    ) async throws -> RivalFleet {
        let name = "\(name)_\(tool.name)"
        let fleet = RivalFleet(
            tool: tool,
            databases: (0..<count).map {
                BenchCluster.Place(
                    server: stage.servers[$0 % stage.servers.count],
                    database: "\(name)_\($0 + 1)")
            },
            stage: stage, home: "\(stage.folder)/\(name)")
        try fleet.writeProject(files)
        for server in stage.servers {
            let template = BenchCluster.Place(server: server, database: name)
            try await runScript("create database \(name)", at: server.place("postgres"))
            // It makes its own tables at the first deployment.
            try await runScript(SmallFiles.undo, at: template.connectionString)
            try shell("cd '\(fleet.home)' && \(tool.deploy(tool.address(template)))")
            try await fleet.clear(template)
        }
        for place in fleet.databases {
            try await runScript(
                "create database \(place.database) template \(name)",
                at: place.server.place("postgres"))
        }
        return fleet
    }

    var deployment: ShellLoop { loop(tool.deploy("$0")) }
    var status: ShellLoop { loop(tool.status("$0")) }

    /// Takes everything back that was deployed, without the program.
    func reset() async throws {
        for place in databases { try await clear(place) }
        try await stage.settle()
    }

    private func loop(_ command: String) -> ShellLoop {
        ShellLoop(lines: "\(home)/places", body: "cd \"\(home)\"; \(command)")
    }

    private func clear(_ place: BenchCluster.Place) async throws {
        try await runScript("\(SmallFiles.undo); \(tool.forget)", at: place.connectionString)
    }

    private func writeProject(_ files: [MigrationText]) throws {
        let places = databases.map { tool.address($0) + "\n" }.joined()
        for (path, text) in tool.project(files) + [("places", places)] {
            let file = URL(filePath: home).appending(path: path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
    }
}
