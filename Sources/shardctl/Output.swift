import ArgumentParser
import Foundation
import Postgres
import ShardOperations

/// What every command takes.
struct CommonOptions: ParsableArguments {
    @Option(help: "The catalog's libpq connection string (SHARD_CATALOG).")
    var catalog: String?

    @Option(help: "The folder with the migrations (SHARDCTL_MIGRATIONS; ./migrations).")
    var migrations: String?

    @Flag(help: "Print one JSON object.")
    var json = false

    /// `--migrations`, else the environment's, else the one here, else the one of the package that
    /// this program was built from.
    var migrationsFolder: URL {
        if let migrations { return URL(filePath: migrations) }
        if let folder = ProcessInfo.processInfo.environment["SHARDCTL_MIGRATIONS"] {
            return URL(filePath: folder)
        }
        let here = URL(filePath: "migrations")
        guard !Self.holdsMigrations(here) else { return here }
        var place = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        while place.pathComponents.count > 1 {
            place.deleteLastPathComponent()
            let folder = place.appending(path: "migrations")
            if Self.holdsMigrations(folder) { return folder }
        }
        return here
    }

    private static func holdsMigrations(_ folder: URL) -> Bool {
        FileManager.default.fileExists(atPath: folder.appending(path: "shard").path())
    }

    func cluster() throws -> Cluster {
        let text = try catalogText()
        do throws(PostgresError) {
            return Cluster(catalog: try ConnectionSettings(text), migrations: migrationsFolder)
        } catch {
            throw OperationError.refused("the catalog is \(error)", next: Self.example)
        }
    }

    private static let example =
        "export SHARD_CATALOG='host=127.0.0.1 port=54320 user=postgres dbname=catalog'"

    private func catalogText() throws -> String {
        if let catalog { return catalog }
        if let catalog = ProcessInfo.processInfo.environment["SHARD_CATALOG"] { return catalog }
        if FileManager.default.fileExists(atPath: ".dev/catalog/PG_VERSION") {
            FileHandle.standardError.write(
                Data("shardctl: no catalog is named, so this is about the one in ./.dev\n".utf8))
            let folder = URL(filePath: ".dev")
            return DevCluster(
                folder: folder, layout: try DevLayout.saved(in: folder) ?? DevLayout(),
                migrations: migrationsFolder
            ).catalog
        }
        throw OperationError.refused("no catalog is named", next: Self.example)
    }

    /// Runs a command's work and prints its outcome for people or for programs.
    ///
    /// - Returns by throwing the exit code when it is not 0.
    func report(_ work: () async throws -> Report) async throws {
        let report: Report
        do {
            report = try await work()
        } catch {
            throw fail(error)
        }
        if json {
            print(encoded(report.json))
        } else {
            print(report.lines.joined(separator: "\n"))
            if report.isScript {
                FileHandle.standardError.write(Data("next: \(report.next)\n".utf8))
            } else {
                print("next: \(report.next)")
            }
        }
        if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    }

    private func fail(_ error: any Error) -> any Error {
        if error is ValidationError { return error }
        let operation =
            error as? OperationError ?? .failed("\(error)", next: "shardctl status")
        let isRefused = operation.kind == .refused
        if json {
            printError(
                code: isRefused ? "refused" : "failed", message: operation.description,
                next: operation.next)
        } else {
            let text = "shardctl: \(operation.description)\nnext: \(operation.next)\n"
            FileHandle.standardError.write(Data(text.utf8))
        }
        return ExitCode(isRefused ? 2 : 1)
    }
}

/// Tells a program why nothing came of it.
func printError(code: String, message: String, next: String) {
    print(
        encoded([
            "error": .object([
                "code": .text(code), "message": .text(message), "next": .text(next),
            ])
        ]))
}

func encoded(_ object: [String: JSONValue]) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
        return String(decoding: try encoder.encode(object), as: UTF8.self)
    } catch {
        preconditionFailure("texts, finite numbers and flags can be written as JSON: \(error)")
    }
}

/// What a command found out or did.
struct Report {
    var lines: [String]
    var json: [String: JSONValue]
    var next: String
    var exitCode: Int32 = 0
    /// The lines are for another program: what to do next is said on standard error.
    var isScript = false
}

/// A value for `--json`.
enum JSONValue: Encodable {
    case text(String)
    case number(Int)
    case decimal(Double)
    case flag(Bool)
    case list([JSONValue])
    case object([String: JSONValue])
    case null

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .text(let text): try container.encode(text)
        case .number(let number): try container.encode(number)
        case .decimal(let number): try container.encode(number)
        case .flag(let flag): try container.encode(flag)
        case .list(let list): try container.encode(list)
        case .object(let object): try container.encode(object)
        case .null: try container.encodeNil()
        }
    }
}

/// Columns, each as wide as its widest cell.
func table(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
        rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
        zip(row, widths).map { $0.padding(toLength: $1, withPad: " ", startingAt: 0) }
            .joined(separator: "  ").trimmingCharacters(in: .whitespaces)
    }
}
