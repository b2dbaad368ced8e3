import Testing

@testable import ShardOperations

@Suite struct MigrationPlanTests {
    private func file(_ version: Int, _ sql: String = "select 1; select 2;") throws -> Migration {
        Migration(
            version: version, title: "m\(version)", checksum: "sum\(version)",
            up: try MigrationScript(file: "m\(version).up.sql", sql: sql))
    }

    private func state(_ versions: [Int]) -> MigrationState {
        var state = MigrationState()
        state.hasHistory = true
        state.history = versions.map {
            MigrationState.Entry(version: $0, title: "m\($0)", checksum: "sum\($0)")
        }
        return state
    }

    @Test func `what is missing runs in order, the library's files first`() throws {
        let files = try [1, 2, 3, 1001, 1002].map { try file($0) }

        let plan = MigrationPlan(files: files, state: state([1, 1001]))

        #expect(plan.pending.map(\.version) == [2, 3, 1002])
        #expect(plan.obstacles == [])
        #expect(
            MigrationPlan(files: files, state: state([1, 1001]), upTo: 2).pending.map(\.version)
                == [2])
    }

    @Test func `a history that the files do not know is an obstacle`() throws {
        let plan = MigrationPlan(files: [try file(1)], state: state([1, 2]))

        #expect(plan.obstacles == [.notInFiles(state([2]).history[0])])
    }

    @Test func `an edited file is an obstacle`() throws {
        var edited = try file(1)
        edited.checksum = "other"

        let plan = MigrationPlan(files: [edited], state: state([1]))

        #expect(plan.obstacles == [.edited(state([1]).history[0], edited)])
    }

    @Test func `a file below the last applied one of its series is an obstacle`() throws {
        let files = try [1, 2, 3].map { try file($0) }

        let plan = MigrationPlan(files: files, state: state([1, 3]))

        #expect(plan.obstacles == [.late(files[1], after: 3)])
    }

    @Test func `a file that was edited half-way is an obstacle`() throws {
        let old = try file(1, "-- shardctl: transaction=off\nselect 1; select 2;")
        let new = try file(1, "-- shardctl: transaction=off\nselect 1; select 3;")
        var state = state([])
        state.steps = [0, 1].map {
            MigrationState.Step(
                version: 1, number: $0 + 1, statement: old.up.statements[$0].checksum,
                isDone: $0 == 0)
        }

        #expect(MigrationPlan(files: [old], state: state).obstacles == [])
        #expect(
            MigrationPlan(files: [new], state: state).obstacles
                == [.editedHalfway(new, step: 2)])
        #expect(
            MigrationPlan(files: [try file(1)], state: state).obstacles
                == state.steps.map { .strayStep($0) })
    }

    @Test func `a way back that was not ended is an obstacle`() throws {
        var state = state([1])
        state.steps = [
            MigrationState.Step(
                version: 1, direction: .down, number: 1, statement: "x", isDone: true)
        ]

        let plan = MigrationPlan(files: [try file(1)], state: state)

        #expect(plan.obstacles == [.halfwayDown(state.history[0])])
    }
}
