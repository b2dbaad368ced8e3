import ArgumentParser
import CoreMetrics
import Foundation
import Logging
import ShardRouter
import Synchronization

/// `chatd spool`: what waits on this server's disk.
struct SpoolCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "spool",
        abstract: "Shows and drains messages that wait on this machine's disk.",
        discussion: """
            --spool-dir names the folder; else it is that of the server with the same --bind, \
            CHATD_SPOOL_DIR, CHATD_BIND or --config. See 'chatd --help'.
            """,
        subcommands: [SpoolStatus.self, SpoolDrain.self])
}

/// How the commands about the spool are alike. The settings of the server, in front or behind, say
/// which spool is meant.
protocol SpoolSubcommand: ParsableCommand {
    var server: Chatd { get }
    var json: Bool { get }
}

extension SpoolSubcommand {
    func folder() throws -> String {
        do throws(ConfigurationError) {
            let place = try ServerConfiguration.spoolPlace(try server.sources())
            if let place { return place.folder }
        } catch {
            Chatd.complain("\(error)")
            throw ExitCode(error.exitCode)
        }
        Chatd.complain("no spool is named: use --spool-dir")
        throw ExitCode(64)
    }

    /// What is in the spool, or the end of the program with the reason.
    func report(_ folder: String) throws -> SpoolReport {
        do throws(SpoolError) {
            return try SpoolReport(folder: folder)
        } catch {
            Chatd.complain("\(error)")
            if case .damaged = error {
                Chatd.complain("the server sets it aside at its next start, as does 'spool drain'")
            }
            throw ExitCode(1)
        }
    }

    /// The same; nil for a damaged one, which is about to be set aside.
    func reportIfWhole(_ folder: String) throws -> SpoolReport? {
        do throws(SpoolError) {
            return try SpoolReport(folder: folder)
        } catch {
            if case .damaged = error { return nil }
            return try report(folder)
        }
    }

    func show(_ report: SpoolReport) throws {
        guard json else { return print(report.text) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(report), as: UTF8.self))
    }
}

struct SpoolStatus: SpoolSubcommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Tells what waits, since when, and what was refused or set aside.",
        discussion: "Works beside the server that has the spool.\n\nExample: chatd spool status")

    @ParentCommand var server: Chatd

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        try show(try report(try folder()))
    }
}

struct SpoolDrain: SpoolSubcommand, AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Stores what waits in a spool that no server has any more.",
        discussion: """
            A running server drains its own spool. Use this one for the spool of a server that \
            will not come back. Exit codes: 0 everything is stored, 2 refused, 3 something waits \
            still, was refused by its shard, or was set aside.

            Example: chatd spool drain --spool-dir /var/lib/chatd/spool
            """)

    @ParentCommand var server: Chatd

    @Flag(help: "Print one JSON object.")
    var json = false

    @Option(help: ArgumentHelp("How long to try.", valueName: "seconds"))
    var patience = 60

    func run() async throws {
        let folder = try folder()
        let before = try reportIfWhole(folder)
        let stored: Int
        do {
            stored = try await drain(folder)
        } catch let error as SpoolError {
            Chatd.complain("\(error)")
            if case .inUse = error {
                Chatd.complain("a running server drains its own spool: there is nothing to do")
            }
            throw ExitCode(error.exitCode)
        } catch let error as ConfigurationError {
            Chatd.complain("\(error)")
            throw ExitCode(error.exitCode)
        } catch let error as RouterStartError {
            Chatd.complain("\(error)")
            guard case .noShardReachable = error else { throw ExitCode(1) }
            throw ExitCode(3)  // Everything still waits.
        }
        let after = try report(folder)
        if !json { print("stored     \(stored)") }
        try show(after)
        let isClean =
            after.rows == 0 && after.refused.count <= (before?.refused.count ?? 0)
            && after.setAside.count <= (before?.setAside.count ?? 0)
        if !isClean { throw ExitCode(3) }
    }

    /// - Returns: how many messages their shards have stored.
    private func drain(_ folder: String) async throws -> Int {
        let logger = Logger(label: "chatd") { _ in LogfmtHandler() }
        let sources = try server.sources()
        let catalog = try ServerConfiguration.catalog(sources)
        let topologyFile = try ServerConfiguration.topologyFile(sources, catalog: catalog)
        let spool = try await Spool.open(
            folder, factory: NOOPMetricsHandler.instance, logger: logger)
        guard !spool.isEmpty else { return 0 }
        let router = try await ShardRouter.start(
            RouterConfiguration(
                catalog: catalog, topologyFile: topologyFile,
                applicationName: "chatd spool drain"), logger: logger)
        try await spool.bind(to: router.topology.clusterID)
        let stored = Counted()
        let drainer = SpoolDrainer(
            spool: spool, router: router, logger: logger, endsWhenEmpty: true
        ) { _, _ in stored.add() }
        await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await router.run() }
            group.addTask { try await spool.run() }
            await withThrowingTaskGroup(of: Void.self) { work in
                work.addTask { try await drainer.run() }
                work.addTask { try await Task.sleep(for: .seconds(patience)) }
                _ = await work.nextResult()
                work.cancelAll()
            }
            group.cancelAll()
        }
        return stored.count
    }
}

private final class Counted: Sendable {
    private let number = Atomic<Int>(0)

    var count: Int { number.load(ordering: .acquiring) }

    func add() { number.add(1, ordering: .acquiringAndReleasing) }
}
