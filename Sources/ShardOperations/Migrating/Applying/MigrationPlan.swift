/// What a database lacks, and whether its history and the files are of one mind. No I/O.
public struct MigrationPlan: Sendable, Equatable {
    /// Why a database cannot go on without a human. Each has its way out in `shardctl migrate repair`.
    public enum Obstacle: Sendable, Equatable {
        /// The history has it, the files have not.
        case notInFiles(MigrationState.Entry)
        /// The file is not what was applied.
        case edited(MigrationState.Entry, Migration)
        /// It would run after a later one of its series.
        case late(Migration, after: Int)
        /// Statements of it have run, and now the file says something else.
        case editedHalfway(Migration, step: Int)
        /// A statement of it was begun, and nothing in the database tells whether all of it has run.
        case unseen(Migration, step: Int)
        /// Its way back was begun and not ended.
        case halfwayDown(MigrationState.Entry)
        /// The journal has statements of a file that is not there, or is transactional now.
        case strayStep(MigrationState.Step)
    }

    /// Missing, in the order in which they run.
    public var pending: [Migration] = []
    /// In the order of their versions.
    public var obstacles: [Obstacle] = []

    /// - Parameter upTo: the last version wanted; nil is all.
    public init(files: [Migration], state: MigrationState, upTo: Int? = nil) {
        let known = Dictionary(uniqueKeysWithValues: files.map { ($0.version, $0) })
        for entry in state.history {
            switch known[entry.version] {
            case nil: obstacles.append(.notInFiles(entry))
            case let file? where file.checksum != entry.checksum:
                obstacles.append(.edited(entry, file))
            case _?: break
            }
        }
        let applied = state.versions
        for series in MigrationSeries.allCases {
            let last = applied.filter { MigrationSeries(of: $0) == series }.max() ?? 0
            for file in files
            where MigrationSeries(of: file.version) == series && !applied.contains(file.version) {
                if file.version < last { obstacles.append(.late(file, after: last)) }
                if file.version <= upTo ?? .max { pending.append(file) }
            }
        }
        checkSteps(state, known)
    }

    private mutating func checkSteps(_ state: MigrationState, _ known: [Int: Migration]) {
        for step in state.steps {
            if step.direction == .down {
                if let entry = state.history.first(where: { $0.version == step.version }),
                    !obstacles.contains(.halfwayDown(entry))
                {
                    obstacles.append(.halfwayDown(entry))
                }
                continue
            }
            guard let file = known[step.version], !state.versions.contains(step.version),
                !file.up.directives.isTransactional
            else {
                obstacles.append(.strayStep(step))
                continue
            }
            let statements = file.up.statements
            guard step.number <= statements.count,
                statements[step.number - 1].checksum == step.statement
            else {
                obstacles.append(.editedHalfway(file, step: step.number))
                continue
            }
            if !step.isDone, !file.up.directives.isRepeatable,
                MigrationStep(statements[step.number - 1]) == .opaque
            {
                obstacles.append(.unseen(file, step: step.number))
            }
        }
    }

    /// - Throws: a refusal that names the first obstacle of `database`, and the way out.
    func check(database: String) throws {
        guard let first = obstacles.first else { return }
        let more = obstacles.count > 1 ? " (and \(obstacles.count - 1) more)" : ""
        throw OperationError.refused(
            "\(database): \(first.description)\(more)", next: first.remedy(database: database))
    }
}

extension MigrationPlan.Obstacle: CustomStringConvertible {
    public var version: Int {
        switch self {
        case .notInFiles(let entry), .edited(let entry, _), .halfwayDown(let entry): entry.version
        case .late(let file, _), .editedHalfway(let file, _), .unseen(let file, _): file.version
        case .strayStep(let step): step.version
        }
    }

    public var description: String {
        switch self {
        case .notInFiles(let entry):
            "its history has migration \(Migration.name(version: entry.version, title: entry.title)), "
                + "which is not in the files"
        case .edited(_, let file):
            // Its sum is chained to that of the way back before it.
            "migration \(file.version) (\(file.title)) was edited after it was applied, or the "
                + ".down.sql before it was"
        case .late(let file, let last):
            "migration \(file.version) (\(file.title)) is missing, but \(last) is applied already"
        case .editedHalfway(let file, let step):
            "migration \(file.version) (\(file.title)) was edited after its statement \(step) had begun"
        case .unseen(let file, let step):
            "statement \(step) of migration \(file.version) (\(file.title)) was begun, and nothing in "
                + "the database tells whether all of it has run"
        case .halfwayDown(let entry):
            "taking migration \(entry.version) (\(entry.title)) back was begun and not ended"
        case .strayStep(let step):
            "the journal has statement \(step.number) of migration \(step.version), whose file is "
                + "missing, transactional or complete"
        }
    }

    /// What to do about it in `database`.
    public func remedy(database: String) -> String {
        switch self {
        case .notInFiles:
            "use the files of the newer release; if the file is gone for good: "
                + "shardctl migrate repair \(database) --forget \(version)"
        case .edited:
            "restore the file and write the change into a new one (shardctl migrate new TITLE); if the "
                + "database is right as it is: shardctl migrate repair \(database) --accept \(version)"
        case .late:
            "give it a higher number; if the database has what it does: "
                + "shardctl migrate repair \(database) --accept \(version)"
        case .editedHalfway(_, let step):
            "restore the file; if the database was put right by hand: "
                + "shardctl migrate repair \(database) --step \(version)/\(step) --again"
        case .unseen(_, let step):
            "look at the database, then: shardctl migrate repair \(database) --step "
                + "\(version)/\(step) --done, or --again"
        case .halfwayDown:
            "shardctl migrate down"
        case .strayStep:
            "restore the file; if the database was put right by hand: "
                + "shardctl migrate repair \(database) --forget \(version)"
        }
    }
}
