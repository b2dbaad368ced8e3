import Testing

@testable import ShardOperations

@Suite struct MigrationLintTests {
    @Test(arguments: LintCorpus.dangerous + LintCorpus.rest)
    func `what hurts is found, with its rules and no other`(entry: LintEntry) throws {
        let found = try findings(entry)

        #expect(Set(found.map(\.rule)) == entry.rules)
        #expect(found.allSatisfy { $0.file == "0002_it" && $0.line > 0 })
    }

    @Test(arguments: LintCorpus.harmless)
    func `about what is harmless nothing is said`(entry: LintEntry) throws {
        let found = try findings(entry)

        #expect(found.isEmpty)
    }

    @Test func `every rule has a statement that breaks it, and says what to write instead`() {
        let broken = (LintCorpus.dangerous + LintCorpus.rest)
            .reduce(into: Set<String>()) { $0.formUnion($1.rules) }

        #expect(broken == Set(MigrationLint.rules.map(\.name)))
        #expect(MigrationLint.rules.count == broken.count, "no name is given twice")
        for rule in LintRules.all {
            #expect(rule.why.hasSuffix(".") && rule.instead.hasSuffix("."), "\(rule.name)")
        }
    }

    @Test func `the corpus is as large as it is said to be`() {
        #expect((LintCorpus.dangerous + LintCorpus.rest).count >= 80)
        #expect(LintCorpus.harmless.count >= 40)
    }

    @Test func `a proof in an earlier file makes NOT NULL harmless`() throws {
        let files = try [
            "alter table public.plans add constraint c check (name is not null) not valid",
            "alter table public.plans validate constraint c",
            "alter table public.plans alter column name set not null",
        ].enumerated().map { try file("000\($0)", $1) }

        #expect(MigrationLint().findings(in: files).isEmpty)
        #expect(MigrationLint().findings(in: [files[0], files[2]]).map(\.file) == ["0002"])
    }

    @Test func `facts of the database make a wider type harmless`() throws {
        let change = try file(
            "0001", "alter table public.plans alter column name type varchar(40)")
        var facts = SchemaFacts()
        facts.relations["public.plans"] = SchemaFacts.Relation(
            columns: ["name": .init(type: ColumnType("varchar", [20]))])

        let blind = MigrationLint().findings(in: [change])
        let seeing = MigrationLint(facts: facts).findings(in: [change])

        #expect(blind.map(\.rule).contains("changing-column-type"))
        #expect(seeing.map(\.rule) == ["prefer-text-field"])
    }

    @Test func `a finding names its file, line and table`() throws {
        let found = MigrationLint().findings(in: [
            try file("0009", "select 1;\n\n-- words\ncreate index on public.plans (a);")
        ])

        let one = try #require(found.first)
        #expect(found.count == 1)
        #expect((one.file, one.line, one.relation) == ("0009", 4, "public.plans"))
        #expect(one.severity == .danger && one.dependsOnSize)
    }

    @Test func `a table registered in a later file counts as registered`() throws {
        let files = [
            try file("0001", "create table public.notes (room_id text primary key)"),
            try file("0002", "select shard.register_table('notes')"),
        ]

        #expect(MigrationLint().findings(in: files).isEmpty)
        #expect(
            MigrationLint().findings(in: [files[0]]).map(\.rule) == ["unregistered-room-table"])
    }

    private func findings(_ entry: LintEntry) throws -> [LintFinding] {
        let context = try file("0001_context", LintEntry.context)
        let before = try SQLSplitter.statements(of: entry.before)
        let own = try SQLSplitter.statements(of: entry.sql)
        // Far below whatever stands before it, so that its findings are known by their lines.
        let moved = own.map { statement in
            var moved = statement
            moved.line += 1_000
            return moved
        }
        let found = MigrationLint().findings(in: [
            context,
            LintFile(
                name: "0002_it", isTransactional: entry.isTransactional,
                isContract: entry.isContract, statements: before + moved),
        ])
        return found.filter { $0.file != "0001_context" && $0.line >= 1_000 }
    }

    private func file(_ name: String, _ sql: String) throws -> LintFile {
        LintFile(name: name, statements: try SQLSplitter.statements(of: sql))
    }
}
