/// What is known of the database that a migration will meet.
///
/// Relations have their names with the schema, such as `public.messages`.
public struct SchemaFacts: Sendable, Equatable {
    public struct Column: Sendable, Equatable {
        public var type: ColumnType
        public var isNotNull: Bool

        public init(type: ColumnType, isNotNull: Bool = false) {
            self.type = type
            self.isNotNull = isNotNull
        }
    }

    public struct Constraint: Sendable, Equatable {
        /// As in `pg_constraint`: `p`, `u`, `f`, `c`, `x`.
        public var kind: String
        public var columns: [String]
        /// The other table of a foreign key.
        public var references: String?
        public var isValid: Bool
        /// Columns that a CHECK proves not to be NULL.
        public var provesNotNull: Set<String> = []
    }

    public struct Index: Sendable, Equatable {
        public var table: String
        /// Without expressions.
        public var columns: [String]
        public var isUnique: Bool
    }

    public struct Domain: Sendable, Equatable {
        public var base: ColumnType
        /// A new column of it is filled in every row.
        public var isConstrained: Bool
    }

    public struct Relation: Sendable, Equatable {
        public var columns: [String: Column] = [:]
        public var constraints: [String: Constraint] = [:]
        /// With its indexes and long values.
        public var bytes = 0
        public var isUnlogged = false
        public var isPartitioned = false
        public var accessMethod = "heap"
    }

    public var relations: [String: Relation] = [:]
    public var indexes: [String: Index] = [:]
    /// Tables that move with their rooms.
    public var registered: Set<String> = []
    /// Views and materialized views that read a relation.
    public var views: [String: Set<String>] = [:]
    /// Partitions and other children of a table.
    public var children: [String: Set<String>] = [:]
    public var domains: [String: Domain] = [:]
    /// The names of all functions that may answer differently each time; nil when unknown.
    public var volatileFunctions: Set<String>?
    /// Those of them that are written in SQL: PostgreSQL looks into their text.
    public var volatileSQLFunctions: Set<String> = []

    public init() {}

    /// For files alone.
    public static let unknown = SchemaFacts()

    /// Whether the relation is known to be empty or hardly more.
    public func isTiny(_ relation: String, bytes: Int = 1 << 20) -> Bool {
        relations[relation].map { $0.bytes <= bytes } ?? false
    }

    /// Whether no row can hold NULL there: proven without reading the table.
    func isProvenNotNull(_ relation: String, _ column: String) -> Bool {
        guard let known = relations[relation] else { return false }
        return known.columns[column]?.isNotNull == true
            || known.constraints.values.contains {
                $0.isValid && $0.provesNotNull.contains(column)
            }
    }

    /// The views on a relation, and those on these.
    func viewsOnViews(_ relation: String) -> Set<String> {
        var found: Set<String> = []
        var open = [relation]
        while let next = open.popLast() {
            for view in views[next] ?? [] where found.insert(view).inserted { open.append(view) }
        }
        return found
    }

    /// The partitioned table that a partition belongs to.
    func wholeTable(of partition: String) -> String? {
        children.first { $0.value.contains(partition) && relations[$0.key]?.isPartitioned == true }?
            .key
    }

    /// The children of a table, and theirs.
    func descendants(_ relation: String) -> Set<String> {
        var found: Set<String> = []
        var open = [relation]
        while let next = open.popLast() {
            for child in children[next] ?? [] where found.insert(child).inserted {
                open.append(child)
            }
        }
        return found
    }

    /// Below a domain stands the type that its values are stored as.
    func stored(_ type: ColumnType) -> ColumnType { domains[type.name]?.base ?? type }

    /// Tables with a foreign key to `relation`.
    func referencing(_ relation: String) -> [String] {
        relations.filter { $0.value.constraints.values.contains { $0.references == relation } }
            .keys.sorted()
    }
}
