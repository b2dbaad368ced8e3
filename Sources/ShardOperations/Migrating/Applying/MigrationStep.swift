/// What a statement is to the runner of a file: how it is run, and how one finds out whether it ran.
enum MigrationStep: Sendable, Equatable {
    /// Runs in a transaction, and so commits together with its row in the journal.
    case plain
    /// `CREATE INDEX CONCURRENTLY`: absent, complete, or left invalid.
    case makesIndex(MadeIndex)
    /// `DROP INDEX CONCURRENTLY`.
    case dropsIndexes([RelationName])
    /// `REINDEX … CONCURRENTLY`: may leave invalid copies behind, and may be repeated.
    case rebuilds(RelationName?)
    /// `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`: may be left pending.
    case detaches(partition: RelationName, from: RelationName)
    /// Cannot run in a transaction, and does the same when it runs again: VACUUM, ANALYZE, CLUSTER.
    case repeatable
    /// Cannot run in a transaction, or may commit by itself, and nothing tells whether it ran: CALL,
    /// a DO that commits, what the parser does not know.
    case opaque
    /// BEGIN, COMMIT and the like: the runner's own business.
    case controlsTransaction
    /// COPY … TO STDOUT.
    case givesRows

    /// An index by the statement that makes it.
    struct MadeIndex: Sendable, Equatable {
        /// nil where PostgreSQL chooses one.
        var name: String?
        var table: RelationName
        var isUnique: Bool
        /// The statement after the table's name: method, columns, predicate.
        var rest: String
    }

    init(_ statement: SQLStatement) {
        let tree: SyntaxTree
        do throws(SQLProblem) {
            tree = try SyntaxTree.statement(statement)
        } catch {
            self = .opaque
            return
        }
        self = Self.classified(tree, statement.text)
    }

    /// Whether PostgreSQL refuses it in a transaction.
    var needsNoTransaction: Bool {
        switch self {
        case .makesIndex, .dropsIndexes, .rebuilds, .detaches, .repeatable: true
        case .plain, .opaque, .controlsTransaction, .givesRows: false
        }
    }

    /// Whether it waits for old transactions without standing in anybody's way.
    var waitsPolitely: Bool {
        switch self {
        case .makesIndex, .dropsIndexes, .rebuilds, .detaches: true
        case .plain, .repeatable, .opaque, .controlsTransaction, .givesRows: false
        }
    }

    /// Whether it changes the session for what follows: SET, RESET.
    static func setsSession(_ statement: SQLStatement) -> Bool {
        do throws(SQLProblem) {
            let tree = try SyntaxTree.statement(statement)
            return tree.kind == "VariableSetStmt" && tree.fields?.isSet("is_local") == false
        } catch {
            return false
        }
    }

    private static func classified(_ tree: SyntaxTree, _ text: String) -> MigrationStep {
        guard let fields = tree.fields else { return .opaque }
        switch tree.kind {
        case "IndexStmt" where fields.isSet("concurrent"):
            guard let index = MadeIndex(fields, text) else { return .opaque }
            return .makesIndex(index)
        case "DropStmt" where fields.isSet("concurrent"):
            return .dropsIndexes(
                fields["objects"]?.list.compactMap { RelationName($0["List"]?["items"]) } ?? [])
        case "ReindexStmt":
            let isConcurrent = fields["params"]?.list.contains {
                $0["DefElem"]?["defname"]?.text == "concurrently"
            }
            return isConcurrent == true ? .rebuilds(fields.relation()) : .repeatable
        case "AlterTableStmt":
            return detaching(fields) ?? .plain
        case "VacuumStmt", "ClusterStmt", "AlterSystemStmt", "CheckPointStmt":
            return .repeatable
        case "CopyStmt" where !fields.isSet("is_from") && fields["filename"] == nil:
            return .givesRows
        case "TransactionStmt":
            return .controlsTransaction
        case "DoStmt":
            return text.lowercased().contains(/\b(commit|rollback)\b/) ? .opaque : .plain
        case "CallStmt", "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt",
            "DropTableSpaceStmt", "CreateSubscriptionStmt", "AlterSubscriptionStmt",
            "DropSubscriptionStmt", "AlterDatabaseStmt":
            return .opaque
        default:
            return .plain
        }
    }

    private static func detaching(_ fields: SyntaxTree) -> MigrationStep? {
        guard let parent = fields.relation(),
            let command = fields["cmds"]?.list.first?["AlterTableCmd"],
            command["subtype"]?.text == "AT_DetachPartition",
            let partition = command["def"]?["PartitionCmd"], partition.isSet("concurrent"),
            let child = partition.relation("name")
        else { return nil }
        return .detaches(partition: child, from: parent)
    }
}

extension MigrationStep.MadeIndex {
    fileprivate init?(_ fields: SyntaxTree, _ text: String) {
        guard let table = fields.relation(),
            let location = fields["relation"]?["location"]?.number,
            let rest = SQLStatement.text(text, afterNameAt: location)
        else { return nil }
        self.init(
            name: fields["idxname"]?.text, table: table, isUnique: fields.isSet("unique"),
            rest: rest)
    }
}

extension RelationName {
    /// A list of `String` nodes: `[schema,] name`.
    init?(_ list: SyntaxTree?) {
        guard let names = list?.names, let name = names.last else { return nil }
        self.init(schema: names.count > 1 ? names[names.count - 2] : nil, name: name)
    }

    /// As it is written in a statement.
    var quoted: String {
        [schema, name].compactMap { $0 }.map(quotedName).joined(separator: ".")
    }
}

/// A name as it is written in a statement, whatever is in it.
func quotedName(_ name: String) -> String {
    "\"" + name.replacing("\"", with: "\"\"") + "\""
}

extension SQLStatement {
    /// What stands behind the, perhaps qualified and quoted, name that begins at `location`, in bytes.
    static func text(_ text: String, afterNameAt location: Int) -> String? {
        let bytes = Array(text.utf8)
        var index = location
        func skipSpace() {
            while index < bytes.count, [32, 9, 10, 13].contains(bytes[index]) { index += 1 }
        }
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "\"") {
                repeat {
                    index += 1
                    while index < bytes.count, bytes[index] != UInt8(ascii: "\"") { index += 1 }
                    index += 1
                } while index < bytes.count && bytes[index] == UInt8(ascii: "\"")
            } else {
                while index < bytes.count,
                    ![32, 9, 10, 13, 40, 46].contains(bytes[index])
                {
                    index += 1
                }
            }
            let end = index
            skipSpace()
            guard index < bytes.count, bytes[index] == UInt8(ascii: ".") else {
                return end <= bytes.count ? String(decoding: bytes[end...], as: UTF8.self) : nil
            }
            index += 1
            skipSpace()
        }
        return nil
    }
}
