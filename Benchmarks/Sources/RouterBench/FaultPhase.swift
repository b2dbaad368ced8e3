import BenchKit
import Glibc
import Postgres
import ShardRouter
import Synchronization

/// What a shard in trouble does to the others, and to the memory of the router.
struct FaultPhase {
    let stage: Stage
    /// Messages a second for each of the two shards.
    private let rate = 500.0

    func run(_ report: inout Report) async throws {
        for fault in Fault.allCases { try await others(fault, &report) }
        try await memory(&report)
    }

    /// What happens to the processes of shard 1.
    private enum Fault: String, CaseIterable {
        /// They hang: SIGSTOP.
        case hanging
        /// It is read-only, as after a failover.
        case readOnly = "read-only"
    }

    // MARK: The others

    private func others(_ fault: Fault, _ report: inout Report) async throws {
        var windows: [[Double]] = [[], [], []]
        for _ in 0..<stage.plan.rounds {
            for (place, p99) in try await round(fault).enumerated() { windows[place].append(p99) }
        }
        let before = windows[0]
        for (name, values) in [("during", windows[1]), ("after", windows[2])] {
            report.compare(
                "8 p99 of the healthy shard \(name), \(fault.rawValue)", ours: values,
                rival: before, unit: "ms", target: nil, note: "rival: before")
        }
    }

    /// - Returns: p99 of the healthy shard's stores in milliseconds before, during and after.
    private func round(_ fault: Fault) async throws -> [Double] {
        try await withRouter(stage.two) { router in
            let (sick, healthy) = (rooms(router, of: 1), rooms(router, of: 2))
            let callers = Callers()
            return try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<32 { group.addTask { await callers.insist(router, sick) } }
                var windows: [Double] = []
                do {
                    windows.append(try await p99(router, healthy))
                    try await begin(fault)
                    windows.append(try await p99(router, healthy, times: 3))
                    try await end(fault)
                    _ = try await p99(router, healthy)  // It recovers.
                    windows.append(try await p99(router, healthy))
                } catch {
                    try await end(fault)
                    throw error
                }
                callers.end()
                try await group.waitForAll()
                return windows
            }
        }
    }

    private func p99(
        _ router: ShardRouter, _ rooms: [RoomID], times: Double = 1
    ) async throws -> Double {
        var plan = stage.plan
        plan.seconds *= times
        return try await openLoop(
            router, rooms: rooms, rate: rate, plan: plan, watching: stage.two
        ).p99 / 1_000
    }

    private func rooms(_ router: ShardRouter, of shard: Int) -> [RoomID] {
        (0..<stage.plan.rooms).map { RoomID(Plan.roomName($0)) }
            .filter { router.route($0).shard == ShardID(shard) }
    }

    private func begin(_ fault: Fault) async throws {
        switch fault {
        case .hanging: stage.two.shards[0].server.signalBackends(of: "chatd", SIGSTOP)
        case .readOnly: try await setReadOnly(true)
        }
    }

    private func end(_ fault: Fault) async throws {
        switch fault {
        case .hanging: stage.two.shards[0].server.signalBackends(of: "chatd", SIGCONT)
        case .readOnly: try await setReadOnly(false)
        }
    }

    private func setReadOnly(_ isReadOnly: Bool) async throws {
        let shard = stage.two.shards[0]
        try await withDatabase(shard.server.place("postgres")) { connection in
            for sql in [
                "alter database \(shard.database) set default_transaction_read_only = \(isReadOnly)",
                """
                select pg_terminate_backend(pid) from pg_stat_activity
                where datname = '\(shard.database)'
                """,
            ] { _ = try await connection.query(sql, deadline: .now + .seconds(20)) }
        }
    }

    // MARK: Memory

    /// As many callers as fill the queue, and more, at a shard that hangs.
    private func memory(_ report: inout Report) async throws {
        let shard = stage.one.shards[0].server
        let (early, late, refusals) = try await withRouter(stage.one) { router in
            let rooms = (0..<stage.plan.rooms).map { RoomID(Plan.roomName($0)) }
            let callers = Callers(patience: .seconds(30), pause: .seconds(2))
            return try await withThrowingTaskGroup(of: Void.self) { group in
                _ = try await storeLoad(
                    router, callers: 256, plan: stage.plan, watching: stage.one)
                shard.signalBackends(of: "chatd", SIGSTOP)
                defer { shard.signalBackends(of: "chatd", SIGCONT) }
                for _ in 0..<30_000 {
                    group.addTask { await callers.insist(router, rooms) }
                }
                try await Task.sleep(for: .seconds(stage.plan.stallSeconds / 4))
                let early = residentBytes()
                try await Task.sleep(for: .seconds(stage.plan.stallSeconds * 3 / 4))
                let late = residentBytes()
                callers.end()
                shard.signalBackends(of: "chatd", SIGCONT)
                group.cancelAll()
                return (early, late, callers.refusals)
            }
        }
        report.add(
            Figure(
                name: "8 memory at the end of a stall, a quarter into it",
                ratio: Double(late) / Double(early), ours: Double(late) / 1_048_576,
                rival: Double(early) / 1_048_576, unit: "MiB", target: .atMost(1.1),
                note: "\(short(stage.plan.stallSeconds)) s, 30,000 callers, "
                    + "\(refusals) refusals"))
    }
}

/// Callers who try the next message whatever they are told.
private final class Callers: Sendable {
    private let patience: Duration
    private let pause: Duration
    private let isOver = Atomic<Bool>(false)
    private let refused = Atomic<Int>(0)

    init(patience: Duration = .seconds(5), pause: Duration = .milliseconds(60)) {
        self.patience = patience
        self.pause = pause
    }

    var refusals: Int { refused.load(ordering: .relaxed) }

    func end() { isOver.store(true, ordering: .releasing) }

    func insist(_ router: ShardRouter, _ rooms: [RoomID]) async {
        var source = MessageSource(rooms: rooms)
        while !isOver.load(ordering: .acquiring) {
            do throws(WriteError) {
                _ = try await router.store(source.next(), patience: patience)
            } catch {
                refused.add(1, ordering: .relaxed)
            }
            do {
                try await Task.sleep(for: pause)
            } catch {
                return  // The phase ends.
            }
        }
    }
}

extension BenchServer {
    /// Signals the server's processes that serve `user`, and no other.
    func signalBackends(of user: String, _ signal: Int32) {
        _ = system("pkill -\(signal) -P \(process) -f 'postgres: \(user) ' || true")
    }
}
