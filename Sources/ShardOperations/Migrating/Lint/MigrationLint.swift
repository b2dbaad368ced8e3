/// Looks for DDL that hurts while chat runs, before any of it runs.
///
/// A pure function of the files and of what is known of the database.
public struct MigrationLint: Sendable {
    /// Every rule, for documentation: why it is there, and what to write instead.
    public static var rules:
        [(name: String, severity: LintFinding.Severity, summary: String, instead: String)]
    {
        LintRules.all.map { ($0.name, $0.severity, $0.why, $0.instead) }
    }

    private let facts: SchemaFacts

    /// - Parameter facts: what is known of the database; ``SchemaFacts/unknown`` for files alone.
    public init(facts: SchemaFacts = .unknown) {
        self.facts = facts
    }

    /// What is to be said about `files`, which run in this order.
    public func findings(in files: [LintFile]) -> [LintFinding] {
        let trees = files.map { file in file.statements.map(Self.read) }
        let all = trees.joined().compactMap { result in
            if case .success(let tree) = result { tree } else { nil }
        }
        var current = facts
        let registered = facts.registered.union(all.compactMap(\.registeredTable?.full))
        let created = Set(all.compactMap(\.createdRelation?.full))
        var findings: [LintFinding] = []
        for (file, trees) in zip(files, trees) {
            let scenes = Self.scenes(file, trees, &current, registered, created)
            for (index, statement) in file.statements.enumerated() {
                var found: [LintFinding] = []
                if case .failure(let problem) = trees[index] {
                    found = [LintRules.unreadable(file, problem)]
                } else if let scene = scenes.first(where: { $0.index == index }) {
                    found = LintRules.findings(in: scene)
                }
                findings += Self.allow(found, file, statement)
            }
        }
        return findings
    }

    /// What is to be said about the ways back: what they drop is meant to go, but a table that moves
    /// has to be taken out of the list first.
    public func findings(inWaysBackOf migrations: [Migration]) -> [LintFinding] {
        var facts = facts
        for statement in migrations.flatMap(\.up.statements) {
            if case .success(let tree) = Self.read(statement), let table = tree.registeredTable {
                facts.registered.insert(table.full)
            }
        }
        return migrations.compactMap(\.down).flatMap { script in
            MigrationLint(facts: facts).findings(in: [
                LintFile(
                    name: script.file, isTransactional: script.directives.isTransactional,
                    isContract: true, statements: script.statements)
            ])
        }.filter { $0.rule == "drop-registered-table" }
    }

    private static func read(_ statement: SQLStatement) -> Result<SyntaxTree, SQLProblem> {
        do throws(SQLProblem) {
            return .success(try SyntaxTree.statement(statement))
        } catch {
            return .failure(error)
        }
    }

    private static func scenes(
        _ file: LintFile, _ trees: [Result<SyntaxTree, SQLProblem>], _ facts: inout SchemaFacts,
        _ registered: Set<String>, _ created: Set<String>
    ) -> [LintScene] {
        var scenes: [LintScene] = []
        var new: Set<String> = []
        var registered = registered
        for (index, result) in trees.enumerated() {
            guard case .success(let tree) = result else { continue }
            scenes.append(
                LintScene(
                    file: file, statement: file.statements[index], tree: tree,
                    effect: .of(tree, facts: facts), facts: facts, newRelations: new, index: index,
                    registered: registered, createdAnywhere: created))
            facts.apply(tree)
            if let name = tree.createdRelation { new.insert(name.full) }
            if let name = tree.unregisteredTable { registered.remove(name.full) }
        }
        let peers = scenes.map { scene in
            LintScene.Peer(
                index: scene.index, tree: scene.tree, effect: scene.effect,
                blocked: Set(
                    scene.effect.locks.filter { $0.level.blocksWriters }.map(\.relation)
                ).subtracting(scene.newRelations))
        }
        for index in scenes.indices { scenes[index].peers = peers }
        return scenes
    }

    /// Leaves out what the statement's comments allow, and adds what is wrong with these.
    private static func allow(
        _ findings: [LintFinding], _ file: LintFile, _ statement: SQLStatement
    ) -> [LintFinding] {
        var rest = findings
        var complaints: [LintFinding] = []
        for allowance in statement.comments.compactMap(LintAllowance.init) {
            if allowance.reason == nil {
                complaints.append(LintRules.allowWithoutReason(file, statement))
            }
            for rule in allowance.rules {
                if !LintRules.all.contains(where: { $0.name == rule }) {
                    complaints.append(LintRules.unknownRule(file, statement, rule))
                } else if !findings.contains(where: { $0.rule == rule }) {
                    complaints.append(LintRules.unusedAllow(file, statement, rule))
                }
                rest.removeAll { $0.rule == rule }
            }
        }
        return rest + complaints
    }
}

extension SyntaxTree {
    /// The table of a `select shard.register_table('…')`.
    var registeredTable: RelationName? { table(givenTo: "register_table") }

    /// The table that a statement takes out of those that move with their rooms.
    var unregisteredTable: RelationName? {
        guard kind == "DeleteStmt",
            fields?.relation() == RelationName(schema: "shard", name: "tables")
        else { return table(givenTo: "unregister_table") }
        return fields?["whereClause"]?["A_Expr"]?["rexpr"]?.constantText.flatMap(Self.table)
    }

    private func table(givenTo function: String) -> RelationName? {
        guard kind == "SelectStmt" else { return nil }
        for target in fields?["targetList"]?.list ?? [] {
            let call = target["ResTarget"]?["val"]?["FuncCall"]
            if call?["funcname"]?.names == ["shard", function],
                let name = call?["args"]?.list.first?.constantText
            {
                return Self.table(name)
            }
        }
        return nil
    }

    private static func table(_ name: String) -> RelationName? {
        RelationName(parts: name.filter { $0 != "\"" }.split(separator: ".").map(String.init))
    }

    /// The table or materialized view that a statement makes.
    var createdRelation: RelationName? {
        switch kind {
        case "CreateStmt": fields?.relation()
        case "CreateTableAsStmt": fields?["into"]?.relation("rel")
        default: nil
        }
    }
}
