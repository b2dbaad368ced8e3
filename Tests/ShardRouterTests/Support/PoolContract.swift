import CoreMetrics
import Postgres
import Testing

@testable import ShardRouter

/// What every ``ConnectionPool`` promises, whatever its connections are.
struct PoolContract<Connector: PoolConnector>: Sendable {
    let connector: Connector
    /// Which one it is, so that two can be told apart.
    let identity: @Sendable (Connector.Connection) async throws -> Int
    /// Cuts a connection from the other side.
    let cut: @Sendable (Connector.Connection) async throws -> Void
    private let patience = Duration.seconds(20)

    func check() async throws {
        try await reusesWhatRests()
        try await isBounded()
        try await servesInOrder()
        try await endsWaitsInTime()
        try await replacesWhatWasCut()
        try await closes()
    }

    private func withPool(
        connections: Int = 2, _ body: (ConnectionPool<Connector>) async throws -> Void
    ) async throws {
        var limits = PoolLimits()
        limits.connections = connections
        limits.kept = 1
        let pool = ConnectionPool(
            connector, limits: limits,
            metrics: PoolMetrics(shard: "contract", factory: NOOPMetricsHandler.instance))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await pool.run() }
            group.addTask {
                while !pool.isClosed {
                    pool.tick(now: .now)
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            do {
                try await body(pool)
            } catch {
                pool.close()
                throw error
            }
            pool.close()
            try await group.waitForAll()
        }
    }

    private var deadline: ContinuousClock.Instant { .now + patience }

    private func reusesWhatRests() async throws {
        try await withPool { pool in
            let first = try await pool.withConnection(deadline: deadline) { try await identity($0) }
            let second = try await pool.withConnection(deadline: deadline) {
                try await identity($0)
            }

            #expect(first == second)
        }
    }

    private func isBounded() async throws {
        try await withPool(connections: 1) { pool in
            try await pool.withConnection(deadline: deadline) { _ in
                let failure = await #expect(throws: ShardError.self) {
                    try await pool.withConnection(deadline: .now + .milliseconds(50)) { _ in }
                }
                guard case .busy? = failure else {
                    Issue.record("\(String(describing: failure))")
                    return
                }
            }
            try await pool.withConnection(deadline: deadline) { _ in }
        }
    }

    private func servesInOrder() async throws {
        try await withPool(connections: 1) { pool in
            let (order, line) = AsyncStream<Int>.makeStream()
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<10 {
                    group.addImmediateTask {
                        do {
                            try await pool.withConnection(deadline: deadline) { _ in
                                _ = line.yield(number)
                            }
                        } catch {
                            Issue.record("\(error)")
                        }
                    }
                }
            }
            line.finish()
            #expect(await order.reduce(into: []) { $0.append($1) } == Array(0..<10))
        }
    }

    private func endsWaitsInTime() async throws {
        try await withPool(connections: 1) { pool in
            try await pool.withConnection(deadline: deadline) { _ in
                let isRefused = await withTaskGroup(of: Bool.self) { group in
                    group.addImmediateTask { [deadline] in
                        do {
                            try await pool.withConnection(deadline: deadline) { _ in }
                            return false
                        } catch {
                            return error is ShardError
                        }
                    }
                    group.cancelAll()
                    return await group.next() ?? false
                }
                #expect(isRefused, "a cancelled caller does not wait")
            }
        }
    }

    private func replacesWhatWasCut() async throws {
        try await withPool { pool in
            let first = try await pool.withConnection(deadline: deadline) { connection in
                let number = try await identity(connection)
                try await cut(connection)
                return number
            }
            let second = try await pool.withConnection(deadline: deadline) {
                try await identity($0)
            }

            #expect(first != second)
        }
    }

    private func closes() async throws {
        try await withPool { pool in
            try await pool.withConnection(deadline: deadline) { connection in
                pool.close()
                await #expect(throws: ShardError.closed(shard: connector.name)) {
                    try await pool.withConnection(deadline: deadline) { _ in }
                }
                #expect(connection.isUsable, "what is lent stays usable")
            }
        }
    }
}
