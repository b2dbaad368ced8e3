import BenchKit
import ShardRouter

/// What every caller of a load notes for itself.
private struct Notes: Sendable {
    var microseconds: [Double] = []
    var rows = 0
    var allRows = 0
}

/// Lets `callers` do `operation` one after the other, each without a pause, as the plan says.
///
/// - Parameter operation: answers how many rows it stored or read.
func closedLoop(
    callers: Int, plan: Plan, watching cluster: BenchCluster,
    _ prepare: @escaping @Sendable (Int) -> @Sendable () async throws -> Int
) async throws -> Run {
    let (server, client) = (cluster.cpuSeconds, ownCPUSeconds())
    let begin = ContinuousClock.now + .seconds(plan.warmup)
    let end = begin + .seconds(plan.seconds)
    let notes = try await withThrowingTaskGroup(of: Notes.self) { group in
        for caller in 0..<callers {
            group.addTask {
                let operation = prepare(caller)
                var notes = Notes()
                var now = ContinuousClock.now
                while now < end {
                    let start = now
                    let rows = try await operation()
                    now = .now
                    notes.allRows += rows
                    guard start >= begin else { continue }
                    notes.rows += rows
                    notes.microseconds.append((now - start).microseconds)
                }
                return notes
            }
        }
        return try await group.reduce(into: []) { $0.append($1) }
    }
    return run(notes, seconds: (.now - begin).seconds, cluster, server: server, client: client)
}

/// Stores messages of random rooms from `callers` at once.
func storeLoad(
    _ router: ShardRouter, callers: Int, plan: Plan, watching cluster: BenchCluster
) async throws -> Run {
    let rooms = (0..<plan.rooms).map { RoomID(Plan.roomName($0)) }
    return try await closedLoop(callers: callers, plan: plan, watching: cluster) { _ in
        let source = Box(MessageSource(rooms: rooms))
        return {
            _ = try await router.store(source.value.next(), patience: .seconds(30))
            return 1
        }
    }
}

/// Reads the newest page of random rooms, one after the other.
func pageLoad(
    _ router: ShardRouter, plan: Plan, watching cluster: BenchCluster
) async throws -> Run {
    let rooms = (0..<ScratchSchema.pageRooms).map {
        RoomID("page-" + Plan.roomName($0).dropFirst(5))
    }
    return try await closedLoop(callers: 1, plan: plan, watching: cluster) { _ in
        {
            let room = rooms[Int.random(in: rooms.indices)]
            let page = try await router.history(of: room, limit: 50, patience: .seconds(10))
            guard page.messages.count == 50 else {
                throw BenchError(description: "a page is not full")
            }
            return 50
        }
    }
}

/// Stores `rate` messages a second whatever the answers take; times count from the moment at which
/// a message was due.
///
/// - Parameter rooms: nil takes all of the plan's.
func openLoop(
    _ router: ShardRouter, rooms: [RoomID]? = nil, rate: Double, plan: Plan,
    watching cluster: BenchCluster
) async throws -> Run {
    let rooms = rooms ?? (0..<plan.rooms).map { RoomID(Plan.roomName($0)) }
    let (server, client) = (cluster.cpuSeconds, ownCPUSeconds())
    let begin = ContinuousClock.now
    let total = Int(rate * (plan.warmup + plan.seconds))
    let measuredFrom = begin + .seconds(plan.warmup)
    let notes = try await withThrowingTaskGroup(of: Notes.self) { group in
        var source = MessageSource(rooms: rooms)
        for number in 0..<total {
            let due = begin + .seconds(Double(number) / rate)
            if due > .now { try await Task.sleep(until: due) }
            let message = source.next()
            group.addTask {
                _ = try await router.store(message, patience: .seconds(30))
                guard due >= measuredFrom else { return Notes(allRows: 1) }
                return Notes(
                    microseconds: [(ContinuousClock.now - due).microseconds], rows: 1, allRows: 1)
            }
        }
        return try await group.reduce(into: []) { $0.append($1) }
    }
    return run(
        notes, seconds: (.now - measuredFrom).seconds, cluster, server: server, client: client)
}

private func run(
    _ notes: [Notes], seconds: Double, _ cluster: BenchCluster, server: Double, client: Double
) -> Run {
    let sorted = notes.flatMap(\.microseconds).sorted()
    let rows = notes.map(\.rows).reduce(0, +)
    return Run(
        rows: rows, allRows: notes.map(\.allRows).reduce(0, +),
        rowsPerSecond: Double(rows) / seconds, seconds: seconds,
        cpuSeconds: ownCPUSeconds() - client, p50: percentile(0.5, of: sorted),
        p99: percentile(0.99, of: sorted), serverCPUSeconds: cluster.cpuSeconds - server)
}
