/// One step of a schema.
public struct Migration: Sendable, Equatable {
    public var version: Int
    public var title: String
    /// The chained sum of its files and all before them in its series.
    public var checksum: String
    public var up: MigrationScript
    /// nil where there is no way back.
    public var down: MigrationScript?

    public init(
        version: Int, title: String, checksum: String, up: MigrationScript,
        down: MigrationScript? = nil
    ) {
        self.version = version
        self.title = title
        self.checksum = checksum
        self.up = up
        self.down = down
    }

    /// - Precondition: for `down` there is a file.
    func script(_ direction: MigrationDirection) -> MigrationScript {
        switch direction {
        case .up: return up
        case .down:
            guard let down else { preconditionFailure("\(name) has no way back") }
            return down
        }
    }

    /// `0005_moves`
    public var name: String { Self.name(version: version, title: title) }

    static func name(version: Int, title: String) -> String {
        let digits = String(version)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits + "_" + title
    }
}

/// Whose a migration is. Each series has its own order and chain of sums, so that a new release of
/// this project brings files that are lower than those of the application.
public enum MigrationSeries: Int, Sendable, CaseIterable {
    /// What this project's own programs need.
    case library = 1
    /// The tables of the application that embeds it.
    case application = 1001

    public init(of version: Int) {
        self = version < Self.application.rawValue ? .library : .application
    }
}

public enum MigrationDirection: String, Sendable {
    case up, down
}

/// One direction of a migration.
public struct MigrationScript: Sendable, Equatable {
    /// Such as `0005_moves.up.sql`.
    public var file: String
    public var directives: MigrationDirectives
    public var statements: [SQLStatement]

    public init(
        file: String, directives: MigrationDirectives = MigrationDirectives(),
        statements: [SQLStatement]
    ) {
        self.file = file
        self.directives = directives
        self.statements = statements
    }

    /// - Throws: a refusal that names the file and the line.
    public init(file: String, sql: String) throws {
        self.file = file
        do throws(SQLProblem) {
            statements = try SQLSplitter.statements(of: sql)
        } catch {
            throw Self.refused("\(file), \(error)")
        }
        do throws(MigrationDirectives.Problem) {
            directives = try MigrationDirectives(sql: sql)
            for (index, statement) in statements.enumerated() {
                try MigrationDirectives.check(statement, isFirst: index == 0)
            }
        } catch {
            throw Self.refused("\(file): \(error)")
        }
    }

    private static func refused(_ what: String) -> OperationError {
        .refused(what, next: "mend the file, then: shardctl migrate new --refresh")
    }
}
