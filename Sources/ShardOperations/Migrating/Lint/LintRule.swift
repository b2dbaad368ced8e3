/// One rule of the linter: what it looks for, and what it says about it.
struct LintRule: Sendable {
    /// A place where a rule applies.
    struct Flag {
        var relation: String?
        var what: String

        init(_ relation: RelationName?, _ what: String) {
            self.relation = relation?.full
            self.what = what
        }
    }

    enum Option {
        /// Hurts on a big table only.
        case dependsOnSize
        /// Also looked for on tables that the same file makes.
        case onNewTables
        /// Is what a file with `phase=contract` is for.
        case fineInContract
    }

    var name: String
    var severity: LintFinding.Severity
    var options: Set<Option>
    var why: String
    var instead: String
    var flags: @Sendable (LintScene) -> [Flag]

    init(
        _ name: String, _ severity: LintFinding.Severity, _ options: Set<Option> = [],
        why: String, instead: String, flags: @escaping @Sendable (LintScene) -> [Flag] = { _ in [] }
    ) {
        self.name = name
        self.severity = severity
        self.options = options
        self.why = why
        self.instead = instead
        self.flags = flags
    }

    /// What it finds in one statement.
    func findings(in scene: LintScene) -> [LintFinding] {
        if options.contains(.fineInContract), scene.file.isContract { return [] }
        return flags(scene).compactMap { flag in
            let isNew = flag.relation.map { scene.newRelations.contains($0) } ?? false
            guard !isNew || options.contains(.onNewTables) else { return nil }
            return finding(scene.file, line: scene.statement.line, flag)
        }
    }

    func finding(_ file: LintFile, line: Int, _ flag: Flag) -> LintFinding {
        LintFinding(
            rule: name, severity: severity, file: file.name, line: line, relation: flag.relation,
            what: flag.what, why: why, instead: instead,
            dependsOnSize: options.contains(.dependsOnSize))
    }
}
