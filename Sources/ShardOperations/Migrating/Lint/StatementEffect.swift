/// What a statement does to the tables it touches while chat runs: a prediction from its text and,
/// where they are known, from the facts of the database.
///
/// True for PostgreSQL 15, and proven against a real one. It knows nothing of what functions,
/// triggers and `DO` blocks do, and leaves out the weak locks that foreign keys take while rows
/// are written.
public struct StatementEffect: Sendable, Equatable {
    /// A lock that is held until the transaction ends.
    public struct Lock: Sendable, Equatable {
        /// With its schema; `public` where the statement has none.
        public var relation: String
        public var level: LockLevel

        public init(relation: String, level: LockLevel) {
            self.relation = relation
            self.level = level
        }
    }

    /// Whether every row is written anew into a new file.
    public enum Rewrite: Sendable, Equatable {
        case no
        case yes
        /// On something that the statement does not say.
        case depends(on: String)
    }

    /// The strongest on each relation, by name.
    public var locks: [Lock] = []
    public var rewrites: Rewrite = .no
    /// Whether it reads a whole table to do its work, and is no query: for queries and changes of
    /// rows that is the planner's choice, and holds up nobody. What depends counts as true.
    public var scans = false
    /// False for what PostgreSQL refuses in a transaction, and for new values of an enum, which
    /// cannot be used in the same one.
    public var canRunInTransaction = true
    /// `BEGIN`, `COMMIT`, `SAVEPOINT` and their like.
    public var controlsTransaction = false

    /// A materialized view has no writers but its refresh.
    var hasNoWriters = false

    /// Whether the text says what the statement does: not so for `DO`, `CALL`, and functions that
    /// are called in a query.
    public var isKnown = true

    /// Whether readers and writers go on while it works: it locks out nobody, or only for a moment.
    public var isOnline: Bool {
        guard let strongestLock, strongestLock.blocksWriters else { return true }
        return (rewrites == .no && !scans)
            || (hasNoWriters && strongestLock < .accessExclusive)
    }

    public var strongestLock: LockLevel? { locks.map(\.level).max() }

    init() {}

    /// - Parameter facts: what is known of the database; without them what depends on it is
    ///   predicted as the worse of what can happen.
    static func of(_ tree: SyntaxTree, facts: SchemaFacts = .unknown) -> StatementEffect {
        var effect = StatementEffect()
        guard let kind = tree.kind, let fields = tree.fields else { return effect }
        effect.isKnown =
            !["DoStmt", "CallStmt", "ExecuteStmt"].contains(kind) && !calls(kind, fields)
        if kind == "AlterTableStmt" {
            effect.addAlterTable(fields, facts)
        } else if !effect.addMaintenance(kind, fields, facts)
            && !effect.addDefinition(kind, fields, facts)
            && !effect.addDropping(kind, fields, facts)
        {
            effect.addRows(kind, fields)
        }
        effect.lockChildren(kind, fields, facts)
        effect.locks.sort { $0.relation < $1.relation }
        return effect
    }

    /// A query of no table that calls a function is there for what the function does.
    private static func calls(_ kind: String, _ fields: SyntaxTree) -> Bool {
        kind == "SelectStmt" && fields["fromClause"] == nil
            && fields["targetList"]?.list.contains {
                $0["ResTarget"]?["val"]?["FuncCall"] != nil
            } == true
    }

    /// What is said of a table holds for its partitions and other children, except after ONLY.
    private mutating func lockChildren(
        _ kind: String, _ fields: SyntaxTree, _ facts: SchemaFacts
    ) {
        let reachesAll: Bool
        switch kind {
        case "AlterTableStmt":
            return  // Its actions differ.
        case "LockStmt", "TruncateStmt", "CreatePublicationStmt", "AlterPublicationStmt",
            "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "SelectStmt", "CopyStmt",
            "CreateTableAsStmt", "ExplainStmt":
            reachesAll = true
        case "RenameStmt":
            guard fields["renameType"]?.text == "OBJECT_COLUMN" else { return }
            reachesAll = true
        case "DropStmt":
            reachesAll = fields["behavior"]?.text == "DROP_CASCADE"
        case "IndexStmt", "CreateTrigStmt":
            reachesAll = false
        default:
            return
        }
        var only: Set<String> = []
        fields.visit { node in
            if node["relpersistence"] != nil, !node.isSet("inh"), let name = node.rangeVar {
                only.insert(name.full)
            }
        }
        for known in locks where !only.contains(known.relation) {
            guard reachesAll || facts.relations[known.relation]?.isPartitioned == true else {
                continue
            }
            for child in facts.descendants(known.relation) { lock(child, known.level) }
        }
    }

    mutating func lock(_ relation: RelationName?, _ level: LockLevel) {
        if let relation { lock(relation.full, level) }
    }

    mutating func lock(_ relation: String, _ level: LockLevel) {
        if let index = locks.firstIndex(where: { $0.relation == relation }) {
            locks[index].level = max(locks[index].level, level)
        } else {
            locks.append(Lock(relation: relation, level: level))
        }
    }

    /// A rewrite reads everything, too.
    mutating func rewrite(_ rewrite: Rewrite) {
        guard rewrite != .no else { return }
        scans = true
        if rewrites != .yes { rewrites = rewrite }
    }
}
