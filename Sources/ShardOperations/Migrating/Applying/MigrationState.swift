public import Postgres

/// What one database knows about its migrations.
public struct MigrationState: Sendable, Equatable {
    /// One row of the history.
    public struct Entry: Sendable, Equatable {
        public var version: Int
        public var title: String
        public var checksum: String
        /// `applied`, `baseline` or `repaired`.
        public var origin = "applied"

        public init(version: Int, title: String, checksum: String, origin: String = "applied") {
            self.version = version
            self.title = title
            self.checksum = checksum
            self.origin = origin
        }
    }

    /// One row of the journal: a statement of a file that is not transactional.
    public struct Step: Sendable, Equatable {
        public var version: Int
        public var direction = MigrationDirection.up
        /// From 1.
        public var number: Int
        /// SHA-256 of the statement's text.
        public var statement: String
        /// Without it nobody saw its end.
        public var isDone: Bool

        public init(
            version: Int, direction: MigrationDirection = .up, number: Int, statement: String,
            isDone: Bool
        ) {
            self.version = version
            self.direction = direction
            self.number = number
            self.statement = statement
            self.isDone = isDone
        }
    }

    /// Whether there is a history at all: a new database has none.
    public var hasHistory = false
    public var history: [Entry] = []
    public var steps: [Step] = []

    public init() {}

    public var versions: Set<Int> { Set(history.map(\.version)) }

    /// Reads it; two round trips.
    public static func read(
        _ connection: PostgresConnection, kind: SchemaKind, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> MigrationState {
        let schema = kind.rawValue
        let tables = try await connection.query(
            Statement(
                "select to_regclass('\(schema).migrations') is not null, "
                    + "to_regclass('\(schema).migration_steps') is not null", isPrepared: false),
            deadline: deadline)[0]
        var state = MigrationState()
        state.hasHistory = try tables.get(0)
        guard state.hasHistory else { return state }
        // By way of JSON: databases from before the journal do not have all columns.
        var statements = [
            Statement(
                "select version, title, checksum, coalesce(to_jsonb(m)->>'origin', 'applied') "
                    + "from \(schema).migrations m order by version", isPrepared: false)
        ]
        if try tables.get(1) {
            statements.append(
                Statement(
                    "select version, direction = 'up', step, statement, state = 'done' "
                        + "from \(schema).migration_steps order by version, direction, step",
                    isPrepared: false))
        }
        let answers = try await connection.pipeline(statements, deadline: deadline)
        for row in answers[0] {
            state.history.append(
                Entry(
                    version: try row.get(0), title: try row.get(1), checksum: try row.get(2),
                    origin: try row.get(3)))
        }
        for row in answers.dropFirst().first.map(Array.init) ?? [] {
            state.steps.append(
                Step(
                    version: try row.get(0), direction: try row.get(1, as: Bool.self) ? .up : .down,
                    number: try row.get(2), statement: try row.get(3), isDone: try row.get(4)))
        }
        return state
    }
}
