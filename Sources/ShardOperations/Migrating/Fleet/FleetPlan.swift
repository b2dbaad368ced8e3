import Postgres
import ShardRouter

/// What `migrate up` would do, and what the lint has to say about it. Changes nothing.
public struct FleetPlan: Sendable {
    /// One statement that would run.
    public struct Statement: Sendable, Equatable {
        public var text: String
        public var line: Int
        /// What it does to the tables of this database; nil when the parser cannot read it.
        public var effect: StatementEffect?
    }

    public struct File: Sendable, Equatable {
        public var migration: Migration
        public var statements: [Statement]
    }

    /// One database and what would run there.
    public struct Database: Sendable {
        public var name: String
        public var files: [File] = []
        public var obstacles: [MigrationPlan.Obstacle] = []
        /// Why it could not be asked; nil when it answered.
        public var problem: String?
    }

    /// The catalog first; those that lack nothing are there too.
    public var databases: [Database]
    /// About the files that would run at any shard.
    public var findings: [LintFinding]

    /// - Throws: when the catalog does not answer, or the files are not in order.
    public static func make(_ cluster: Cluster, upTo: Int? = nil) async throws -> FleetPlan {
        let survey = try await FleetSurvey.take(cluster, upTo: upTo)
        let topology = try await cluster.topology()
        let facts = await survey.all.concurrently(atMost: 16) { database in
            await look(database, cluster, topology)
        }
        let databases = zip(survey.all, facts).map { plan($0, $1) }
        let lint = FleetLint(cluster: cluster, topology: topology, databases: survey.shards)
        return FleetPlan(databases: databases, findings: try await lint.findings())
    }

    /// Of a database that lacks nothing nothing has to be known.
    private static func look(
        _ database: FleetSurvey.Database, _ cluster: Cluster, _ topology: Topology
    ) async -> Result<SchemaFacts, any Error> {
        guard database.problem == nil, !database.plan.pending.isEmpty else {
            return .success(.unknown)
        }
        do {
            let deadline = ContinuousClock.now + Cluster.patience
            guard let shard = database.shard else {
                return .success(
                    try await cluster.withCatalog { try await .read($0, deadline: deadline) })
            }
            return .success(
                try await cluster.withMember(shard, of: topology) {
                    try await .read($0, deadline: deadline)
                })
        } catch {
            return .failure(error)
        }
    }

    private static func plan(
        _ database: FleetSurvey.Database, _ facts: Result<SchemaFacts, any Error>
    ) -> Database {
        var plan = Database(
            name: database.name, obstacles: database.plan.obstacles, problem: database.problem)
        switch facts {
        case .failure(let error):
            plan.problem = "\(error)"
        case .success(var facts):
            plan.files = database.plan.pending.map { migration in
                File(
                    migration: migration,
                    statements: migration.up.statements.map { statement($0, &facts) })
            }
        }
        return plan
    }

    /// - Parameter facts: become those after the statement.
    private static func statement(
        _ statement: SQLStatement, _ facts: inout SchemaFacts
    ) -> Statement {
        var planned = Statement(text: statement.text, line: statement.line)
        do throws(SQLProblem) {
            let tree = try SyntaxTree.statement(statement)
            planned.effect = StatementEffect.of(tree, facts: facts)
            facts.apply(tree)
        } catch {
            planned.effect = nil  // The lint says so.
        }
        return planned
    }
}
