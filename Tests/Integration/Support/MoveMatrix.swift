import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

@testable import ShardOperations

/// Moves the same slots back and forth between two shards, and disturbs each move at one point.
final class MoveMatrix: Sendable {
    /// Of looks at a move that is still open when the faults have stopped.
    private static let resumes = 7

    let cluster: TestCluster
    let operations: Cluster
    let slots: [Int]
    let limits: MoveLimits
    private let shards: [Shard]
    private let traffic: Traffic
    private let checker: MoveChecker

    init(_ cluster: TestCluster, _ traffic: Traffic, slots: [Int]) throws {
        self.cluster = cluster
        self.traffic = traffic
        self.slots = slots
        operations = try cluster.operations()
        shards = traffic.router.topology.shards
        checker = MoveChecker(cluster)
        var limits = MoveLimits()
        limits.rowsPerChunk = 200
        limits.pauseAfterLift = .milliseconds(20)
        self.limits = limits
    }

    /// Runs one cell.
    ///
    /// - Parameters:
    ///   - others: more that happens to the same move, whoever runs it then.
    ///   - delay: from the point to the fault.
    /// - Returns: what is wrong afterwards; empty: nothing.
    func run(
        _ cell: MoveCell, and others: [MoveCell] = [], delay: Duration = .zero
    ) async throws -> [String] {
        let move = try await open()
        if cell.point.isOfAbort { try await runToFence(move) }
        let snare = Snare(at: cell.point, limits: limits)
        var story: [String] = []
        try await withThrowingTaskGroup(of: String.self) { group in
            group.addTask { [self] in
                await outcome { [self] in try await begin(cell, move, snare.watch) }
            }
            try await caught(snare)
            try await Task.sleep(for: delay)
            if snare.hasCaught {
                story += try await strike(cell.fault, move, snare)
            } else {
                story.append("the point was not reached")
            }
            snare.release()
            for try await end in group { story.append("first: \(end)") }
        }
        for other in others { story += try await again(other, move) }
        story += try await settle()
        var wrong = try await checker.violations(traffic)
        if !snare.hasCaught { wrong.append("the point was not reached") }
        return wrong.map { "\($0) [\(story.joined(separator: "; "))]" }
    }

    // MARK: The move

    private func mover(_ watch: MoveWatch = MoveWatch(), isExclusive: Bool = true) -> Mover {
        Mover(cluster: operations, limits: limits, watch: watch, isExclusive: isExclusive)
    }

    /// Opens a move to the shard that does not own the slots.
    private func open() async throws -> Move {
        let owner: Int = try await operations.withCatalog {
            try await $0.query(
                "select shard_id from catalog.slots where slot = $1", [slots[0]],
                deadline: .now + .seconds(20))[0].get(0)
        }
        let (one, other) = (shards[0], shards[1])
        let isFirst = owner == one.id.number
        return try await mover().open(
            slots, from: isFirst ? one : other, to: isFirst ? other : one, reason: "test")
    }

    private func begin(_ cell: MoveCell, _ move: Move, _ watch: MoveWatch) async throws -> String {
        if cell.point.isOfAbort {
            try await MoveAbort(cluster: operations, move: move, limits: limits, watch: watch)
                .run(because: "test")
            return "aborted"
        }
        return "\(try await mover(watch).run(move))"
    }

    /// Leaves a move behind as a runner does that dies behind the fence: what an abort finds at worst.
    private func runToFence(_ move: Move) async throws {
        let snare = Snare(at: .drained, limits: limits)
        try await withThrowingTaskGroup(of: String.self) { group in
            group.addTask { [self] in
                await outcome { [self] in "\(try await mover(snare.watch).run(move))" }
            }
            try await caught(snare)
            try await endSessions(move)
            snare.kill()
            try await group.waitForAll()
        }
    }

    private func outcome(_ body: @Sendable () async throws -> String) async -> String {
        do {
            return try await body()
        } catch {
            return "\(error)"
        }
    }

    /// Waits until `snare` holds somebody.
    private func caught(_ snare: Snare) async throws {
        let limit = ContinuousClock.now + .seconds(15)
        while !snare.hasCaught, ContinuousClock.now < limit {
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    // MARK: The faults

    private func strike(
        _ fault: MoveFault, _ move: Move, _ snare: Snare
    ) async throws -> [String] {
        let (source, target) = (move.source.id.number - 1, move.target.id.number - 1)
        switch fault {
        case .killRunner:
            try await endSessions(move)
            snare.kill()
        case .freezeRunner: return try await freeze(move, snare)
        case .secondRunner: return [try await besides(move, snare)]
        case .killSource: try restart(source, snare)
        case .killTarget: try restart(target, snare)
        case .cutSource: cluster.proxies[source].cutAll()
        case .cutTarget: cluster.proxies[target].cutAll()
        case .abort:
            let end = await outcome { [self] in
                try await MoveAbort(cluster: operations, move: move, limits: limits)
                    .run(because: "test")
                return "aborted"
            }
            return ["abort: \(end)"]
        }
        return []
    }

    /// The sleeper wakes up while the next move of the same slots is under way.
    private func freeze(_ move: Move, _ snare: Snare) async throws -> [String] {
        let end = await outcome { [self] in "\(try await mover(isExclusive: false).run(move))" }
        guard try await MoveJournal(cluster: operations).state(of: move.id).state != .open else {
            return ["second: \(end)"]
        }
        let next = Snare(at: .copied, limits: limits)
        let following = try await open()
        return try await withThrowingTaskGroup(of: String.self) { group in
            group.addTask { [self] in
                await outcome { [self] in "\(try await mover(next.watch).run(following))" }
            }
            try await caught(next)
            snare.release()
            next.release()
            var story = ["second: \(end)"]
            for try await end in group { story.append("next: \(end)") }
            return story
        }
    }

    private func besides(_ move: Move, _ snare: Snare) async throws -> String {
        async let end = outcome { [self] in "\(try await mover(isExclusive: false).run(move))" }
        snare.release()
        return "second: \(await end)"
    }

    /// The runner goes on while the server is away.
    private func restart(_ index: Int, _ snare: Snare) throws {
        cluster.servers[index].kill()
        snare.release()
        try cluster.servers[index].start()
    }

    /// Ends all sessions of a runner at once, as the death of its process does.
    private func endSessions(_ move: Move) async throws {
        for shard in cluster.servers.indices {
            _ = try await cluster.rows(
                shard: shard + 1,
                """
                select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = '\(move.name)' and pid not in (
                    select active_pid from pg_replication_slots
                    where slot_name = '\(move.name)' and active_pid is not null)
                """)
        }
        let catalog = try await cluster.catalogConnection()
        defer { catalog.close() }
        _ = try await catalog.query(
            """
            select pg_terminate_backend(pid) from pg_locks
            where locktype = 'advisory' and classid = $1::int8::oid and objid = $2::int8::oid
            """, [Int64(MoveJournal.runnerLock), move.id], deadline: .now + .seconds(20))
    }

    /// One more fault in a move that goes on, if it comes to the point.
    private func again(_ cell: MoveCell, _ move: Move) async throws -> [String] {
        guard try await MoveJournal(cluster: operations).state(of: move.id).state == .open else {
            return []
        }
        let snare = Snare(at: cell.point, limits: limits)
        return try await withThrowingTaskGroup(of: String.self) { group in
            group.addTask { [self] in
                await outcome { [self] in "\(try await mover(snare.watch).run(move))" }
            }
            while !snare.hasCaught {
                try await Task.sleep(for: .milliseconds(20))
                if try await MoveJournal(cluster: operations).state(of: move.id).state != .open {
                    break
                }
            }
            var story = snare.hasCaught ? try await strike(cell.fault, move, snare) : []
            snare.release()
            for try await end in group { story.append("\(cell.testDescription): \(end)") }
            return story
        }
    }

    // MARK: Afterwards

    /// Faults have stopped: whatever is open is closed by a few looks.
    private func settle() async throws -> [String] {
        var story: [String] = []
        for number in 1...Self.resumes {
            let open = try await MoveJournal(cluster: operations).openMoves()
            if open.isEmpty { break }
            for move in open {
                let end = await outcome { [self] in
                    "\(try await mover().resume(move.id).state)"
                }
                story.append("resume \(number): \(end)")
            }
        }
        return story
    }
}
